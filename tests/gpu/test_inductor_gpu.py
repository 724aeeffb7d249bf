"""torch.compile on a real GPU with gemm_tuner on: right numbers, honest records, and the configs that records name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gemm_tuner as gt
from doubles.graphs import Graph
from gemm_tuner.inductor.session import LEARNED, Report
from gemm_tuner.records import Fingerprint, Record, read
from gemm_tuner.settings import Policy, settings
from gemm_tuner.tuning import present_versions
from gpu.products import assert_right, in_float32, operands, together, tolerance
from inductor_samples import asked, config_of, record

TOP_K = 4
NO_GPU = "torch sees no NVIDIA GPU here, and this is about what one computes"
IEEE_IS_MEANT = "ignore:TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU),
    pytest.mark.filterwarnings(IEEE_IS_MEANT),
]

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
        *problems("mm", (1040, 1, 777), ("nt",)),
        *problems("mm", (777, 1000, 1), ("nn",)),  # which newer Inductors multiply element by element
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


def check(wanted: list[gt.GemmProblem]) -> None:
    """Compiles the products as one function, and compares each with float32."""
    torch.backends.cuda.matmul.allow_tf32 = wanted[0].precision == "tf32"
    given = [operands(problem, "cuda") for problem in wanted]
    results = compiled(together(wanted))(*given)
    for problem, result, each in zip(wanted, results, given, strict=True):
        assert_right(problem, result, each)


def raced(report: Report) -> set[gt.GemmProblem]:
    """Those that Inductor was to time; the others had one candidate, and their decisions say why."""
    return {each.problem for each in report.decisions if not each.plan.is_settled}


def assert_measured_here(records: list[Record]) -> None:
    here = gt.device()
    assert records
    for each in records:
        assert each.device == Fingerprint.of(here)
        assert each.basis == "measured"
        assert each.versions == present_versions(here)
        assert all(asdict(each.versions).values())


@pytest.mark.parametrize("case", CASES)
def test_products_are_right_measured_cold_then_warm(case: str, tmp_path: Path) -> None:
    skip_what_the_device_lacks(case)
    wanted = CASES[case]
    with fresh_inductor(tmp_path), gt.enabled(policy="measure", top_k=TOP_K) as cold:
        check(wanted)
    # a product may be lowered as another op (addmm as mm) or padded, but there are as many as were asked for
    assert sum(problem.k > 1 for problem in wanted) <= len(asked(cold)) <= len(wanted)
    assert (cold.hits, cold.left) == ([], [])
    assert all(len(each.plan.configs) <= TOP_K for each in cold.decisions)
    assert {each.problem for each in cold.learned} == raced(cold), [str(each) for each in cold.decisions]
    assert_measured_here(cold.learned)
    with fresh_inductor(tmp_path), gt.enabled(policy="measure", top_k=TOP_K) as warm:
        check(wanted)
    assert asked(warm) == asked(cold)
    assert {each.problem for each in warm.hits} == raced(cold)
    assert raced(warm) == set()
    assert warm.learned == []


@pytest.mark.parametrize("case", SETTLING)
@pytest.mark.parametrize("policy", ["lookup", "predict"])
def test_products_are_right_and_nothing_is_measured(case: str, policy: Policy, tmp_path: Path) -> None:
    wanted = CASES[case]
    with fresh_inductor(tmp_path), gt.enabled(policy=policy) as report:
        check(wanted)
    assert report.misses == report.decisions and report.decisions
    assert raced(report) == set()
    assert report.learned == []
    if policy == "lookup":
        assert all(each.plan.library for each in report.decisions)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_recorded_config_is_what_runs(dtype: str, tmp_path: Path) -> None:
    """In the code that Inductor wrote, and, by the profiler, on the GPU: what follows is in the same kernel."""
    from torch._inductor.utils import run_and_get_code

    here = gt.device()
    problem = gt.GemmProblem(m=1000, n=777, k=1040, dtype=dtype)
    config = gt.GemmConfig(block_m=64, block_n=32, block_k=32, num_warps=4, num_stages=3, group_m=4)
    assert gt.why_illegal(problem, config, here) is None
    known = record(problem, here, config)
    given = operands(problem, "cuda")
    with fresh_inductor(tmp_path), gt.enabled(known, policy="lookup") as report:
        run = compiled(lambda a, b: torch.relu(a @ b))
        result, code = run_and_get_code(run, *given)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            run(*given)
            torch.cuda.synchronize()
    assert [each.problem for each in report.hits] == [problem]
    (graph,) = (Graph(text, is_backward=False) for text in code)
    (kernel,) = graph.gemms
    assert not graph.extern
    assert config_of(kernel) == config
    assert kernel.constants["EVEN_K"] is False  # 1040 is 32 times 32 and 16 more
    ran = [event.key for event in profile.key_averages() if event.key.startswith("triton_")]
    assert len(ran) == 1 and ran[0].startswith("triton_tem_fused") and "relu" in ran[0], ran
    expected = in_float32(problem, given).relu()
    torch.testing.assert_close(result.float(), expected, rtol=tolerance(problem), atol=tolerance(problem))


@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("family", ["split_k", "stream_k", "persistent", "persistent_tma"])
def test_a_recorded_kernel_that_inductor_lacks_is_what_runs(family: str, cuda_graphs: bool, tmp_path: Path) -> None:
    """Called by the code that Inductor wrote, by itself and in a CUDA graph."""
    from torch._inductor.utils import run_and_get_code

    here = gt.device()
    problem = gt.GemmProblem(m=1000, n=1040, k=2048)
    tile = gt.GemmConfig(block_m=64, block_n=64, block_k=32, num_warps=4, num_stages=3)
    more: dict[str, Any] = {"split_k": 3} if family == "split_k" else {"ctas": here.available_sms}
    config = tile.replace(family=family, **more)
    illegal = gt.why_illegal(problem, config, here)
    if illegal is not None:
        pytest.skip(illegal)
    given = operands(problem, "cuda")
    expected = in_float32(problem, given).relu()
    with fresh_inductor(tmp_path), gt.enabled(record(problem, here, config), policy="lookup") as report:
        run = torch.compile(lambda a, b: torch.relu(a @ b), dynamic=False, options={"triton.cudagraphs": cuda_graphs})
        result, code = run_and_get_code(run, *given)
        results = [result.clone(), *(run(*given).clone() for _ in range(3))]  # a warm-up, the capture, its replays
    assert [each.problem for each in report.hits] == [problem] and report.left == []
    (graph,) = (Graph(text, is_backward=False) for text in code)
    assert graph.own == (config.to_dict(),)
    assert not graph.gemms and not graph.extern
    assert_launched(config)
    for each in results:
        torch.testing.assert_close(each.float(), expected, rtol=tolerance(problem), atol=tolerance(problem))


def assert_launched(config: gt.GemmConfig) -> None:
    """The op has made that config's kernels ready, and nothing has sent it to ATen."""
    from gemm_tuner import config_op

    made = [ready for (text, *_), ready in config_op._runs.ready.items() if text == config_op.to_text(config)]
    assert made and not any(isinstance(each, str) for each in made), made


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_linear_layer_and_its_backward(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(1040, 777, device="cuda", dtype=dtype)
    x = torch.randn(500, 1040, device="cuda", dtype=dtype, requires_grad=True)
    weights = torch.randn(500, 777, device="cuda", dtype=dtype) / 500**0.5  # gradients about 1 in size
    inputs = (x, layer.weight, layer.bias)

    def gradients(result: torch.Tensor, of: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [result.detach(), *torch.autograd.grad((result * weights.to(result.dtype)).sum(), of)]

    wide = [each.detach().float().requires_grad_() for each in inputs]
    expected = gradients(nn.functional.linear(*wide), wide)
    reports = []
    for _ in ("cold", "warm"):
        with fresh_inductor(tmp_path), gt.enabled(policy="measure", top_k=TOP_K) as report:
            found = gradients(compiled(layer)(x), inputs)
        reports.append(report)
        for got, want in zip(found, expected, strict=True):
            torch.testing.assert_close(got.float(), want, rtol=3e-2, atol=3e-2)
    cold, warm = reports
    assert len(cold.decisions) == 3  # forward, and a gradient each for the input and the weight
    assert {each.problem for each in cold.learned} == raced(cold) == {each.problem for each in warm.hits}
    assert warm.learned == []


def test_the_backend_by_name(tmp_path: Path) -> None:
    problem = CASES["mm fp16"][0]
    given = operands(problem, "cuda")
    with fresh_inductor(tmp_path):
        result = torch.compile(torch.mm, backend="gemm_tuner", options={"policy": "measure", "top_k": 2})(*given)
    assert_right(problem, result, given)
    learned = read(settings().cache_dir / LEARNED).records
    assert {each.problem for each in learned} == {problem}
    assert_measured_here(list(learned))


@pytest.mark.parametrize("sms", [16, 32])
def test_what_is_measured_on_a_part_of_the_gpu_is_recorded_for_that_part(sms: int, tmp_path: Path) -> None:
    from gpu.partition import PartitionError, partition, reached_sms

    try:
        part = partition(sms)
    except PartitionError as error:
        pytest.skip(str(error))
    with part.entered(), fresh_inductor(tmp_path), gt.enabled(policy="measure", top_k=2, sm_budget=sms) as report:
        assert reached_sms() == sms
        assert gt.device().available_sms == sms
        check(CASES["mm fp16"][:1])
        assert reached_sms() == sms  # compiled code sets its device, and with it the primary context
        torch.cuda.synchronize()
    assert {(each.device.available_sms, each.basis) for each in report.learned} == {(sms, "measured")}
    assert gt.device().available_sms == gt.device().sm_count
