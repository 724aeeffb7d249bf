"""torch.compile on a real GPU with gemm_tuner on: right numbers, honest records, and the configs that records name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import gemm_tuner as gt
from gemm_tuner.records import Fingerprint, Record, Versions
from gpu.products import Operands, assert_right, operands, together

TOP_K = 4
NO_GPU = "torch sees no NVIDIA GPU here, and this is about what one computes"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU)]

LAYOUTS = ("nn", "nt", "tn", "tt")


def problems(op: str, sizes: tuple[int, int, int], layouts: tuple[str, ...], **more: Any) -> list[gt.GemmProblem]:
    m, n, k = sizes
    return [gt.GemmProblem(op=op, m=m, n=n, k=k, layout=layout, **more) for layout in layouts]


# One compile each; 1040 and 777 are divided by no block_k above 16 and by none at all.
CASES = {
    "mm fp16": problems("mm", (512, 1000, 1040), LAYOUTS),
    "mm bf16 odd": problems("mm", (1000, 777, 777), LAYOUTS, dtype="bfloat16"),
    "mm fp32": problems("mm", (520, 777, 1040), ("nn", "tt"), dtype="float32"),
    "mm tf32": problems("mm", (1040, 1024, 1000), ("nt", "tn"), dtype="float32", precision="tf32"),
    "mm of one row, column, k": [
        *problems("mm", (1, 1000, 1040), ("nt",)),
        *problems("mm", (1040, 1, 777), ("nn",)),
        *problems("mm", (777, 1000, 1), ("nn",)),
    ],
    "addmm": [
        *problems("addmm", (777, 1000, 1040), ("nn", "nt")),
        *problems("addmm", (512, 1040, 777), ("tn",), dtype="bfloat16"),
    ],
    "bmm": [
        *problems("bmm", (144, 200, 1040), ("nn", "nt"), batch=6),
        *problems("bmm", (77, 200, 136), ("tn", "tt"), batch=6, dtype="bfloat16"),
    ],
    "baddbmm": problems("baddbmm", (144, 200, 1040), ("nn", "nt"), batch=3),
    "mm_plus_mm": [
        *problems("mm_plus_mm", (520, 1000, 1040), ("nn",)),
        *problems("mm_plus_mm", (512, 1040, 1000), ("nt",), dtype="bfloat16"),
    ],
    "int_mm": problems("int_mm", (520, 1000, 1040), ("nn", "nt"), dtype="int8"),
    "scaled_mm": problems("scaled_mm", (528, 1008, 1040), ("nt",), dtype="float8_e4m3fn"),
}
SETTLING = ("mm fp16", "addmm", "mm tf32")  # for the policies that measure nothing


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _precision_as_it_was() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def fresh_inductor(tmp_path: Path) -> Iterator[None]:
    """As in a process that starts now: nothing compiled, and Inductor's caches empty."""
    from torch._inductor.utils import fresh_cache

    torch._dynamo.reset()
    with fresh_cache(dir=str(tmp_path)):
        yield


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = torch.compile(function, dynamic=False, fullgraph=True)
    return made


def skip_what_the_device_lacks(case: str) -> None:
    capability = torch.cuda.get_device_capability()
    if case == "scaled_mm" and capability < (8, 9):
        pytest.skip(f"float8 products need compute capability 8.9, this GPU has {capability[0]}.{capability[1]}")


def check(wanted: list[gt.GemmProblem], given: list[Operands]) -> None:
    torch.backends.cuda.matmul.allow_tf32 = wanted[0].precision == "tf32"
    results = compiled(together(wanted))(*given)
    for problem, result, each in zip(wanted, results, given, strict=True):
        assert_right(problem, result, each)


def assert_measured_here(records: list[Record]) -> None:
    here = gt.device()
    for each in records:
        assert each.device == Fingerprint.of(here)
        assert each.basis == "measured"
        assert each.latency_us is None or each.latency_us > 0
        assert each.versions == Versions(
            each.versions.gemm_tuner, each.versions.torch, each.versions.triton, here.driver_version
        )
        assert all((each.versions.gemm_tuner, each.versions.torch, each.versions.triton))


@pytest.mark.parametrize("case", CASES)
def test_products_are_right_measured_cold_then_warm(case: str, tmp_path: Path) -> None:
    skip_what_the_device_lacks(case)
    wanted = CASES[case]
    given = [operands(problem, "cuda") for problem in wanted]
    with fresh_inductor(tmp_path), gt.enabled(policy="measure", top_k=TOP_K) as cold:
        check(wanted, given)
    assert cold.left == []
    assert cold.misses == cold.decisions and cold.decisions
    # one problem may be lowered under another op (addmm as mm), or padded, but there are as many as were asked for
    assert len({each.problem for each in cold.decisions}) == len(wanted)
    raced = [each for each in cold.decisions if not each.plan.is_settled]
    assert {each.problem for each in cold.learned} == {each.problem for each in raced}
    assert all(len(each.plan.configs) <= TOP_K for each in raced)
    assert_measured_here(cold.learned)
    with fresh_inductor(tmp_path), gt.enabled(policy="measure", top_k=TOP_K) as warm:
        check(wanted, given)
    assert {each.problem for each in warm.hits} == {each.problem for each in raced}
    assert [each for each in warm.misses if not each.plan.is_settled] == []
    assert warm.learned == []
