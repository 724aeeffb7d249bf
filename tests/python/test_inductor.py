"""Real Inductor on a virtual GPU (a double): what it generates when gemm_tuner is on, and what it leaves alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import nn

import gemm_tuner as gt
from blocks import TOKENS, LlamaBlock, VitBlock, on_meta
from doubles.graphs import Graph, TritonGemm
from doubles.virtual_gpu import virtual_gpu
from gemm_tuner.inductor.plan import without_record
from gemm_tuner.inductor.session import Report
from gemm_tuner.records import Fingerprint, Record, Versions
from gemm_tuner.sources import kernel_id

STOCK_WARNING = "Not enough SMs to use max_autotune_gemm mode"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def asked(report: Report) -> set[gt.GemmProblem]:
    return {each.problem for each in report.decisions}


def best(problem: gt.GemmProblem, device: gt.DeviceSpec) -> gt.GemmConfig:
    """The model's best config that Inductor's templates can run."""
    served = [config for config in gt.space(problem, device) if config.family == "tiled"]
    return gt.rank(problem, device, configs=served)[0].config


def record(problem: gt.GemmProblem, device: gt.DeviceSpec, choice: gt.GemmConfig | None) -> Record:
    return Record(
        device=Fingerprint.of(device),
        problem=problem,
        choice=choice,
        kernel=f"aten::{problem.op}" if choice is None else kernel_id("tiled"),
        latency_us=1.0,
        basis="predicted",
        kind="winner",
        versions=Versions("0"),
    )


def config_of(kernel: TritonGemm) -> gt.GemmConfig:
    has = kernel.constants
    return gt.GemmConfig(
        block_m=has["BLOCK_M"],
        block_n=has["BLOCK_N"],
        block_k=has["BLOCK_K"],
        group_m=has["GROUP_M"],
        num_warps=kernel.num_warps,
        num_stages=kernel.num_stages,
    )


def k_of(kernel: TritonGemm) -> int:
    """Which the template writes into its text where it is no symbol."""
    (line,) = {each.strip() for each in kernel.source.splitlines() if each.strip().startswith("K = ")}
    return int(line.removeprefix("K = "))


def gemms(graphs: Iterable[Graph]) -> list[TritonGemm]:
    return [kernel for graph in graphs for kernel in graph.gemms]


def mlp(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return nn.functional.gelu(x @ w)


MLP = ((72, 1040), (1040, 520))  # small tiles: with large ones the GELU would spill, and Inductor not fuse it
MLP_PROBLEM = gt.GemmProblem(m=72, n=520, k=1040)


# Proof: the recorded config stands in each kernel, what follows is fused into it, and it compiles for the device


@pytest.mark.parametrize(
    ("device", "block", "dtype"),
    [
        ("rtx-3060", LlamaBlock, "float16"),
        ("rtx-3060", VitBlock, "bfloat16"),
        ("rtx-4060", VitBlock, "float16"),
        ("l4", LlamaBlock, "bfloat16"),
        ("a30", VitBlock, "bfloat16"),
        ("gb10", LlamaBlock, "float16"),
        ("h100-pcie-mig-1g.10gb", VitBlock, "float16"),
    ],
)
def test_recorded_configs_stand_in_a_block_and_its_backward(device: str, block: type[nn.Module], dtype: str) -> None:
    with virtual_gpu(device) as gpu, gt.enabled(policy="lookup") as report:
        library = gpu.compile(on_meta(block), TOKENS, dtype=DTYPES[dtype], backward=True)
    assert not gemms(library)
    problems = asked(report)
    assert {problem.a_dtype for problem in problems} == {dtype}
    chosen = {problem: best(problem, gpu.spec) for problem in problems}
    records = [record(problem, gpu.spec, config) for problem, config in chosen.items()]
    # the double compiles every kernel for the architecture, and refuses what does not fit
    with virtual_gpu(device) as gpu, gt.enabled(records, policy="lookup") as report:
        graphs = gpu.compile(on_meta(block), TOKENS, dtype=DTYPES[dtype], backward=True)
    assert report.misses == []
    assert asked(report) == problems
    forward, backward = graphs
    assert (forward.is_backward, backward.is_backward) == (False, True)
    assert not forward.extern and not backward.extern
    kernels = gemms(graphs)
    assert {config_of(kernel) for kernel in kernels} == set(chosen.values())
    for kernel in kernels:
        assert kernel.constants["EVEN_K"] == (k_of(kernel) % kernel.constants["BLOCK_K"] == 0), kernel.name
    assert {kernel.constants["EVEN_K"] for kernel in kernels} == {True, False}  # no tile divides these sizes
    fused = [kernel.name for kernel in gemms([forward])]
    activation = "silu" if block is LlamaBlock else "gelu"
    assert any(activation in name for name in fused), fused
    assert any("add" in name for name in fused), fused


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


def offered(choice: object) -> gt.GemmConfig | None:
    """What a choice of Inductor's is, as we offered it; None for ATen."""
    config: gt.GemmConfig | None = choice.annotations["gemm_tuner"][0].config  # type: ignore[attr-defined]
    return config


def wins(winner: gt.GemmConfig | None) -> Callable[[object], float]:
    """Timings in which one candidate takes 1 ms and all others 2."""
    return lambda choice: 1.0 if offered(choice) == winner else 2.0


def race(problem: gt.GemmProblem, device: gt.DeviceSpec, top_k: int = 4) -> tuple[gt.GemmConfig, ...]:
    return without_record(problem, device, "measure", top_k, evidence=lambda *_: None).configs


@pytest.mark.parametrize("fused_ms", [0.5, 3.0])
@pytest.mark.parametrize("place", [0, 2, None])
def test_a_miss_is_measured_once_and_a_warm_start_does_the_same_without_measuring(
    place: int | None, fused_ms: float, cache: Path
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
