"""Real Inductor on a virtual GPU (a double): what it generates when gemm_tuner is on, and what it leaves alone."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import pytest
import torch
from torch import nn

import gemm_tuner as gt
from blocks import TOKENS, GeluBlock, LlamaBlock, VitBlock, on_meta
from doubles.fused import compile_for, run_interpreted
from doubles.virtual_gpu import virtual_gpu
from gemm_tuner.capture import Capture
from gemm_tuner.inductor.lowering import lowering
from gemm_tuner.records import Fingerprint
from inductor_samples import (
    MLP,
    MLP_PROBLEM,
    STOCK_WARNING,
    asked,
    best,
    config_of,
    gemms,
    k_of,
    mlp,
    race,
    record,
    wins,
)

pytestmark = pytest.mark.usefixtures("own_cache")
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


# Proof: the recorded config stands in each kernel, what follows is fused into it, and it compiles for the device


@functools.cache
def problems_of(block: Callable[[], nn.Module], dtype: str) -> tuple[gt.GemmProblem, ...]:
    """What Inductor asks about for the block and its backward, read from its lowering for some device."""
    seen = Capture()
    with lowering(seen, gt.device("rtx-3060")) as compiled:
        inputs = torch.empty(TOKENS, dtype=DTYPES[dtype], device="meta", requires_grad=True)
        compiled(on_meta(block).to(DTYPES[dtype]))(inputs).sum().backward()
    assert seen.skipped == {}
    return tuple(each.problem for each in seen.problems)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [LlamaBlock, GeluBlock, VitBlock])
@pytest.mark.parametrize("device", ["rtx-3060", "rtx-4060", "l4", "a30", "gb10", "h100-pcie-mig-1g.10gb"])
def test_recorded_configs_stand_in_a_block_and_its_backward(
    device: str, block: Callable[[], nn.Module], dtype: str
) -> None:
    problems, spec = problems_of(block, dtype), gt.device(device)
    chosen = {problem: best(problem, spec) for problem in problems}
    records = [record(problem, spec, config) for problem, config in chosen.items()]
    # the double compiles every GEMM kernel for the architecture, and refuses what does not fit
    with virtual_gpu(device, gemms_alone=True) as gpu, gt.enabled(records, policy="lookup") as report:
        forward, backward = graphs = gpu.compile(on_meta(block), TOKENS, dtype=DTYPES[dtype], backward=True)
    assert report.misses == []
    assert asked(report) == set(problems)
    assert {problem.a_dtype for problem in problems} == {dtype}
    assert (forward.is_backward, backward.is_backward) == (False, True)
    assert not forward.extern and not backward.extern
    kernels = gemms(graphs)
    assert {config_of(kernel) for kernel in kernels} == set(chosen.values())
    for kernel in kernels:
        assert kernel.constants["EVEN_K"] == (k_of(kernel) % kernel.constants["BLOCK_K"] == 0), kernel.name
    assert {kernel.constants["EVEN_K"] for kernel in kernels} == {True, False}  # no tile divides these sizes
    activation = "silu" if block is LlamaBlock else "gelu"
    names = [kernel.name for kernel in forward.gemms]
    assert any("add" in name for name in names), names
    fused = next(kernel for kernel in forward.gemms if activation in kernel.name)
    needs = compile_for(fused, spec.compute_capability)
    assert 0 < needs["smem_bytes"] <= spec.smem_per_block_optin_bytes
    assert needs["tensor_core_instructions"] > 0


def gated(x: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return nn.functional.silu(x @ gate) * (x @ up) + 1


def biased(bias: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return nn.functional.relu(torch.addmm(bias, x, w))


@pytest.mark.parametrize(
    ("function", "shapes", "op"),
    [
        (mlp, ((37, 75), (75, 45)), "mm"),
        (gated, ((37, 75), (75, 45), (75, 45)), "mm"),
        (biased, ((45,), (37, 75), (75, 45)), "addmm"),
        (torch.bmm, ((3, 37, 75), (3, 75, 45)), "bmm"),
        (lambda a, b, c, d: a @ b + c @ d, ((37, 75), (75, 45)) * 2, "mm_plus_mm"),
    ],
    ids=["gelu", "gated", "bias and relu", "bmm", "mm_plus_mm"],
)
def test_what_is_generated_from_records_computes_what_eager_does_on_odd_sizes(
    function: Callable[..., torch.Tensor], shapes: tuple[tuple[int, ...], ...], op: str
) -> None:
    problem = gt.GemmProblem(op=op, m=37, n=45, k=75, batch=3 if op == "bmm" else 1)
    config = gt.GemmConfig(block_m=32, block_n=32, block_k=32, num_warps=2, num_stages=3, group_m=4)
    with virtual_gpu("rtx-3060") as gpu:
        assert gt.why_illegal(problem, config, gpu.spec) is None
        with gt.enabled(record(problem, gpu.spec, config), policy="lookup") as report:
            (graph,) = gpu.compile(function, *shapes)
    assert report.misses == [] and not graph.extern
    assert {config_of(kernel) for kernel in graph.gemms} == {config}
    assert {kernel.constants["EVEN_K"] for kernel in graph.gemms} == {False}
    torch.manual_seed(0)
    inputs = [torch.randn(shape).to(torch.float16) for shape in shapes]
    (found,) = run_interpreted(graph, inputs)
    expected = function(*(each.float() for each in inputs))
    torch.testing.assert_close(found.float(), expected, rtol=2e-2, atol=2e-2)


def test_stock_inductor_refuses_at_28_sms_and_the_same_graph_is_tuned_after_enable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    logging.getLogger("torch._inductor").propagate = True
    with virtual_gpu("rtx-3060") as gpu:
        (stock,) = gpu.compile(mlp, *MLP, options={"max_autotune_gemm": True})
        assert stock.extern == ("mm",) and not stock.gemms
        assert STOCK_WARNING in caplog.text
        caplog.clear()
        config = best(MLP_PROBLEM, gpu.spec)
        report = gt.enable(record(MLP_PROBLEM, gpu.spec, config))
        try:
            (tuned,) = gpu.compile(mlp, *MLP)
            assert not tuned.extern
            assert [config_of(kernel) for kernel in tuned.gemms] == [config]
            assert [each.problem for each in report.hits] == [MLP_PROBLEM]
            assert STOCK_WARNING not in caplog.text
        finally:
            gt.disable()
        another = ((80, 1040), (1040, 520))  # the first graph would come from Inductor's cache
        (stock,) = gpu.compile(mlp, *another, options={"max_autotune_gemm": True})
        assert stock.extern == ("mm",) and not stock.gemms
        assert STOCK_WARNING in caplog.text


# Winners: measured once, remembered, never measured again


@pytest.mark.parametrize("fused_ms", [0.5, 3.0])
@pytest.mark.parametrize("place", [0, 2, None])
def test_a_miss_is_measured_once_and_a_warm_start_does_the_same_without_measuring(
    place: int | None, fused_ms: float
) -> None:
    candidates = race(MLP_PROBLEM, gt.device("rtx-3060"))
    winner = None if place is None else candidates[place]
    with virtual_gpu("rtx-3060", timings=wins(winner), fused_ms=fused_ms) as gpu, gt.enabled() as report:
        (cold,) = gpu.compile(mlp, *MLP)
    assert len(gpu.clock.compiled) == len(candidates) == 4
    assert {config_of(kernel) for kernel in gpu.clock.compiled} == set(candidates)
    assert len(gpu.clock.gemms) == 5  # and ATen
    (learned,) = [each for each in report.learned if each.kind == "winner"]
    assert learned.basis == "measured"
    assert learned.problem == MLP_PROBLEM and learned.device == Fingerprint.of(gpu.spec)
    assert learned.followed_by == ("convert_element_type",)
    is_triton = bool(cold.gemms)
    assert (learned.choice is not None) == is_triton
    if is_triton:
        assert config_of(cold.gemms[0]) == learned.choice
        assert learned.fused == (len(cold.calls) == 1) == (fused_ms < 1)
    assert len([each for each in report.learned if each.kind == "trial"]) == 5

    with virtual_gpu("rtx-3060") as gpu, gt.enabled() as report:  # a double without timings: it refuses to be asked
        (warm,) = gpu.compile(mlp, *MLP)
    assert (gpu.clock.gemms, gpu.clock.compiled, gpu.clock.paddings, gpu.clock.fusions) == ([], [], 0, 0)
    assert report.misses == [] and report.learned == []
    assert [config_of(kernel) for kernel in warm.gemms] == [config_of(kernel) for kernel in cold.gemms]
    assert len(warm.calls) == len(cold.calls)  # fused as it was, or left alone as it was
