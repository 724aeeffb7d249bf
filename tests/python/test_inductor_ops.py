"""Each operator that Inductor asks us about, and what stands beside them, on a virtual GPU (a double)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import gemm_tuner as gt
from doubles.virtual_gpu import virtual_gpu
from gemm_tuner.inductor import _compat
from inductor_samples import MLP, STOCK_WARNING, asked, best, config_of, k_of, mlp, record

pytestmark = pytest.mark.usefixtures("own_cache")

HALF = torch.float16


def int8(rows: int, columns: int) -> torch.Tensor:
    return torch.empty(rows, columns, dtype=torch.int8, device="meta")


def float8(rows: int, columns: int, *, transposed: bool = False) -> torch.Tensor:
    shape = (columns, rows) if transposed else (rows, columns)
    made = torch.empty(shape, dtype=torch.float8_e4m3fn, device="meta")
    return made.t() if transposed else made


SCALE = torch.empty((), dtype=torch.float32, device="meta")


def scaled(a: torch.Tensor, b: torch.Tensor, scale_a: torch.Tensor, scale_b: torch.Tensor) -> torch.Tensor:
    return torch._scaled_mm(a, b, scale_a, scale_b, out_dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("device", "function", "examples", "problem"),
    [
        ("l4", torch.mm, ((72, 1040), (1040, 520)), {"op": "mm", "m": 72, "n": 520, "k": 1040}),
        ("l4", torch.addmm, ((520,), (72, 1040), (1040, 520)), {"op": "addmm", "m": 72, "n": 520, "k": 1040}),
        ("l4", torch.bmm, ((6, 72, 200), (6, 200, 136)), {"op": "bmm", "m": 72, "n": 136, "k": 200, "batch": 6}),
        (
            "l4",
            torch.baddbmm,
            ((6, 72, 136), (6, 72, 200), (6, 200, 136)),
            {"op": "baddbmm", "m": 72, "n": 136, "k": 200, "batch": 6},
        ),
        (
            "l4",
            lambda a, b, c, d: a @ b + c @ d,
            ((72, 1040), (1040, 520)) * 2,
            {"op": "mm_plus_mm", "m": 72, "n": 520, "k": 1040},
        ),
        (
            "l4",
            torch._int_mm,
            (int8(72, 1040), int8(1040, 520)),
            {"op": "int_mm", "m": 72, "n": 520, "k": 1040, "dtype": "int8"},
        ),
        (
            "l4",
            scaled,
            (float8(72, 1040), float8(1040, 528, transposed=True), SCALE, SCALE),
            {"op": "scaled_mm", "m": 72, "n": 528, "k": 1040, "dtype": "float8_e4m3fn", "layout": "nt"},
        ),
    ],
    ids=["mm", "addmm", "bmm", "baddbmm", "mm_plus_mm", "int_mm", "scaled_mm"],
)
def test_the_recorded_config_of_each_operator_is_what_inductor_generates(
    device: str, function: Callable[..., Any], examples: tuple[Any, ...], problem: dict[str, Any]
) -> None:
    with virtual_gpu(device) as gpu:
        expected = gt.GemmProblem(**problem)
        config = best(expected, gpu.spec)
        # a tile that does not divide k, where the base choice of Inductor's does: EVEN_K must follow
        uneven = next(
            (
                each
                for each in gt.space(expected, gpu.spec)
                if each.family == "tiled" and expected.k % each.block_k and each.num_warps == config.num_warps
            ),
            config,
        )
        with gt.enabled(record(expected, gpu.spec, uneven), policy="lookup") as report:
            (graph,) = gpu.compile(function, *examples, dtype=HALF)
    assert asked(report) == {expected}
    assert report.misses == []
    (kernel,) = graph.gemms
    assert not graph.extern
    assert config_of(kernel) == uneven
    assert kernel.constants["EVEN_K"] == (k_of(kernel) % uneven.block_k == 0)


def test_aten_stays_where_a_record_says_so_for_all_three_groups_of_addmm() -> None:
    with virtual_gpu("rtx-3060") as gpu:
        known = gt.GemmProblem(op="addmm", m=72, n=520, k=1040)
        with gt.enabled(record(known, gpu.spec, None)) as report:
            (graph,) = gpu.compile(torch.addmm, (520,), (72, 1040), (1040, 520))
    assert report.misses == []
    assert graph.extern == ("addmm",) and not graph.gemms


def test_a_product_of_much_larger_k_is_served_though_inductor_leaves_the_template_out() -> None:
    problem = gt.GemmProblem(m=16, n=16, k=8192)
    with virtual_gpu("rtx-3060") as gpu:
        config = best(problem, gpu.spec)
        with gt.enabled(record(problem, gpu.spec, config)) as report:
            (graph,) = gpu.compile(torch.mm, (16, 8192), (8192, 16))
    assert report.misses == []
    assert [config_of(kernel) for kernel in graph.gemms] == [config]


def test_where_triton_has_no_tensor_cores_aten_stays_and_one_line_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gemm_tuner")
    with virtual_gpu("t4") as gpu, gt.enabled() as report:
        (graph,) = gpu.compile(mlp, *MLP)
    assert graph.extern == ("mm",) and not graph.gemms
    (decision,) = report.decisions
    assert "no tensor-core code for float16 on compute capability 7.5" in decision.plan.why
    assert len([each for each in caplog.records if "no tensor-core code" in each.getMessage()]) == 1
    assert STOCK_WARNING not in caplog.text


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(32, 64, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.spatial(x)
        return y


def test_convolutions_behind_the_same_gate_stay_as_stock_inductor_has_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with torch.device("meta"):
        model = Convolutions()
    with virtual_gpu("rtx-3060") as gpu:
        (stock,) = gpu.compile(model, (1, 32, 56, 56))
        caplog.clear()
        with gt.enabled(policy="predict") as report:
            (graph,) = gpu.compile(model, (1, 32, 56, 56))
    assert "convolution" in "".join(stock.extern) and graph.extern == stock.extern
    assert not graph.gemms
    assert report.decisions == []
    assert STOCK_WARNING not in caplog.text


def test_a_1x1_convolution_that_inductor_makes_a_product_is_tuned_as_one() -> None:
    problem = gt.GemmProblem(op="mm", m=784, n=64, k=32, layout="nt")
    with torch.device("meta"):
        model = nn.Conv2d(32, 64, 1, bias=False)
    x = torch.empty(1, 32, 28, 28, dtype=HALF, device="meta").to(memory_format=torch.channels_last)
    with virtual_gpu("rtx-3060") as gpu:
        config = best(problem, gpu.spec)
        with gt.enabled(record(problem, gpu.spec, config), policy="lookup") as report:
            (graph,) = gpu.compile(model, x, options={"conv_1x1_as_mm": True})
    assert asked(report) == {problem}
    assert [config_of(kernel) for kernel in graph.gemms] == [config]
    assert not graph.extern


def test_dynamic_sizes_are_looked_up_by_their_hint_and_masked_along_k() -> None:
    problem = gt.GemmProblem(m=72, n=520, k=1040)
    with virtual_gpu("rtx-3060") as gpu:
        config = best(problem, gpu.spec)
        with gt.enabled(record(problem, gpu.spec, config)) as report:
            (graph,) = gpu.compile(mlp, *MLP, dynamic=True)
    (decision,) = report.decisions
    assert decision.is_hint and decision.is_hit
    assert "sizes are hints" in str(decision)
    (kernel,) = graph.gemms
    assert config_of(kernel) == config
    assert kernel.constants["EVEN_K"] is False  # k may be anything


def test_what_we_do_not_understand_goes_its_stock_way() -> None:
    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b

    with virtual_gpu("rtx-3060") as gpu, gt.enabled() as report:
        (graph,) = gpu.compile(product, (64, 64), (64, 64), dtype=torch.float64)
    assert graph.extern == ("mm",)
    assert report.decisions == []
    assert any("float64" in sentence for sentence in report.left)


def test_a_torch_that_is_not_as_we_know_it_costs_nobody_a_compile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from gemm_tuner.inductor import choices, coverage

    def changed(*_: object) -> object:
        raise AttributeError("'MMKernelInputs' object has no attribute 'mat1mat2'")

    monkeypatch.setattr(choices, "_said_aside", [])
    monkeypatch.setattr(_compat, "asked", changed)
    with virtual_gpu("rtx-3060") as gpu, gt.enabled():
        (graph,) = gpu.compile(mlp, *MLP)
        gpu.compile(mlp, (80, 1040), (1040, 520))
    assert graph.extern == ("mm",) and not graph.gemms
    assert caplog.text.count("is not as this version knows it") == 1

    caplog.clear()
    monkeypatch.setattr(_compat, "PRIVATE_NAMES", ("torch._inductor.utils:is_small_gpu",))
    coverage._say_once.cache_clear()
    with virtual_gpu("rtx-3060") as gpu, gt.enabled() as report:
        (graph,) = gpu.compile(mlp, *MLP)
        gpu.compile(mlp, (80, 1040), (1040, 520))
    assert graph.extern == ("mm",)
    assert report.decisions == [] and report.left == []
    assert caplog.text.count("this torch has no torch._inductor.utils:is_small_gpu") == 1


def test_where_the_user_forbids_aten_the_stock_list_is_what_is_left() -> None:
    options = {
        "max_autotune_gemm": True,
        "max_autotune_gemm_backends": "TRITON",
        "test_configs.max_mm_configs": 2,
    }
    with virtual_gpu("rtx-3060", timings=lambda _: 1.0) as gpu, gt.enabled(policy="lookup") as report:
        (graph,) = gpu.compile(mlp, *MLP, options=options)
    assert graph.gemms and not graph.extern
    assert any("has no ATEN" in sentence for sentence in report.left)


def test_grouped_products_are_named_as_not_served(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gemm_tuner")
    offsets = torch.empty(4, dtype=torch.int32, device="meta")
    with virtual_gpu("h100-pcie-mig-1g.10gb") as gpu, gt.enabled() as report:
        (graph,) = gpu.compile(
            lambda a, b, ends: torch._grouped_mm(a, b, ends), (64, 128), (4, 128, 256), offsets, dtype=torch.bfloat16
        )
    assert not graph.gemms
    assert report.decisions == []
    assert any("grouped" in sentence for sentence in report.left)


def test_products_on_the_cpu_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    with gt.enabled() as report:
        found = torch.compile(mlp)(torch.ones(8, 16), torch.ones(16, 8))
    torch.testing.assert_close(found, mlp(torch.ones(8, 16), torch.ones(16, 8)))
    assert report.decisions == [] and report.left == []
