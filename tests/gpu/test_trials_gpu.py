"""Trials on a real GPU: results are checked, a wrong launch is found, parts of the GPU are parts, and ATen is timed."""

# mypy: disable-error-code="no-untyped-call"
# (torch.cuda.Event)
from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gemm_tuner as gt
from gemm_tuner import cublaslt, tuning
from gemm_tuner._core import Timer
from gemm_tuner.compile import Compiled, CompilePool, Kernel, compile_candidates, compile_checks
from gemm_tuner.errors import GpuLostError
from gemm_tuner.launches import Launch, launches_of
from gemm_tuner.sources import workspace_bytes
from gemm_tuner.trials import TrialError, Trials
from gpu.partition import reached_sms
from sweep_file import spec_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU here, which trials run on"),
]

ODD, EVEN = gt.GemmProblem(m=200, n=328, k=1040, layout="nt"), gt.GemmProblem(m=512, n=1024, k=1024, layout="nt")


def like(sizes: gt.GemmProblem, **more: Any) -> gt.GemmProblem:
    """Another problem of the same sizes."""
    return gt.GemmProblem(m=sizes.m, n=sizes.n, k=sizes.k, **{"layout": "nt", **more})


PROBLEMS = {
    "fp16": EVEN,
    "fp16 odd, tn": gt.GemmProblem(m=333, n=777, k=555, layout="tn"),
    "bf16 with epilogue": like(ODD, dtype="bfloat16", layout="nn", epilogue="bias+silu"),
    "fp32": like(ODD, dtype="float32", layout="tt"),
    "tf32": like(ODD, dtype="float32", precision="tf32"),
    "bmm": like(ODD, op="bmm", batch=5, layout="nn"),
    "addmm": like(EVEN, op="addmm", dtype="bfloat16"),
    "int8": like(EVEN, op="int_mm", dtype="int8"),
    "fp8": like(EVEN, op="scaled_mm", dtype="float8_e4m3fn"),
}
FP8_FROM = 89  # compute capability
TOP_K = 2  # of each family
FEW, LARGE = gt.GemmProblem(m=64, n=64, k=4096, layout="nt"), gt.GemmProblem(m=4096, n=4096, k=2048, layout="nt")
PART_SMS = 16


@dataclass(frozen=True)
class Bench:
    """The GPU of this machine, the processes that compile for it, and the one that runs on it."""

    here: gt.DeviceSpec
    trials: Trials
    pool: CompilePool

    def prepare(
        self,
        problem: gt.GemmProblem,
        configs: Sequence[gt.GemmConfig],
        *,
        code: gt.DeviceSpec | None = None,
        kernel: Kernel = "gemm_tuner",
    ) -> dict[gt.GemmConfig, tuple[Launch, ...]]:
        """What launches each. code: the GPU whose code it is, where it is a smaller one."""
        asked: dict[str, Any] = {"pool": self.pool}
        if code is not None:
            asked["assemble_for"] = self.here.compute_capability
        compiled = compile_candidates(problem, configs, code or self.here, kernel=kernel, **asked)
        launches = {}
        for config, result in compiled.items():
            assert isinstance(result, Compiled), result
            launches[config] = launches_of(problem, result)
        ((_, checks),) = compile_checks([problem], code or self.here, **asked)
        assert isinstance(checks, tuple), checks
        self.trials.prepare(problem, checks, parts_bytes=max(workspace_bytes(problem, each) for each in configs))
        return launches

    def median_us(self, config: cublaslt.Candidate | None, launches: Sequence[Launch] = ()) -> float:
        """Raises TrialError where its result is wrong."""
        return statistics.median(self.trials.time(config, launches, 5).latencies_us)

    def all_are_right(self, problem: gt.GemmProblem, configs: Sequence[gt.GemmConfig], **asked: Any) -> None:
        """And take a time that can be."""
        for config, launches in self.prepare(problem, configs, **asked).items():
            assert 0.5 < self.median_us(config, launches) < 1e4, config


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path_factory.mktemp("trials")))
        with tuning.trials_on(gt.device()) as trials, CompilePool() as pool:
            yield Bench(gt.device(), trials, pool)


def best_of(problem: gt.GemmProblem, device: gt.DeviceSpec, family: str, top_k: int = TOP_K) -> list[gt.GemmConfig]:
    configs = [each for each in gt.space(problem, device) if each.family == family]
    return [each.config for each in gt.rank(problem, device, top_k=top_k, configs=configs)] if configs else []


def best_of_both(problem: gt.GemmProblem, device: gt.DeviceSpec) -> list[gt.GemmConfig]:
    return best_of(problem, device, "tiled") + best_of(problem, device, "split_k")


def needs_fp8(name: str, device: gt.DeviceSpec) -> None:
    if name == "fp8" and device.compute_capability < FP8_FROM:
        pytest.skip(f"{device} has no tensor cores for float8")


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_dtype_is_right_and_timed_beside_aten(name: str, bench: Bench) -> None:
    needs_fp8(name, bench.here)
    bench.all_are_right(PROBLEMS[name], best_of_both(PROBLEMS[name], bench.here))
    assert 0.5 < bench.median_us(None) < 1e4


def test_split_k_is_right(bench: Bench) -> None:
    configs = best_of(FEW, bench.here, "split_k", 4)
    assert configs
    bench.all_are_right(FEW, configs)


@pytest.mark.parametrize("name", ["fp16", "fp16 odd, tn", "addmm", "bmm", "fp8"])
def test_inductors_template_is_right(name: str, bench: Bench) -> None:
    needs_fp8(name, bench.here)
    bench.all_are_right(PROBLEMS[name], best_of(PROBLEMS[name], bench.here, "tiled"), kernel="inductor")


def test_a_grid_that_is_too_small_is_found(bench: Bench) -> None:
    right, wrong = best_of(EVEN, bench.here, "tiled")
    launches = bench.prepare(EVEN, [right, wrong])
    (launch,) = launches[wrong]
    x, y, z = launch.grid
    with pytest.raises(TrialError, match="wrong numbers"):
        bench.median_us(wrong, [replace(launch, grid=(x - 1, y, z))])
    assert bench.median_us(right, launches[right]) > 0


def test_an_illegal_address_costs_its_own_trial(bench: Bench) -> None:
    fine, broken = best_of(EVEN, bench.here, "tiled")
    launches = bench.prepare(EVEN, [fine, broken])
    (launch,) = launches[broken]
    planted = replace(launch, arguments=tuple(None if each == "a" else each for each in launch.arguments))
    with pytest.raises(TrialError, match="CUDA_ERROR") as caught:
        bench.median_us(broken, [planted])
    assert caught.value.is_fault
    assert bench.median_us(fine, launches[fine]) > 0


def test_a_part_of_the_gpu_is_slower_than_the_whole(bench: Bench) -> None:
    here = bench.here
    if here.available_sms < 3 * PART_SMS:
        pytest.skip(f"{here} has too few SMs for a part of {PART_SMS} to be told from it")
    part = here.with_available_sms(PART_SMS)
    (config,) = best_of(LARGE, part, "tiled", 1)
    launches = bench.prepare(LARGE, [config])[config]
    whole_us, whole_aten_us = bench.median_us(config, launches), bench.median_us(None)
    with tuning.trials_on(part) as trials:
        in_part = replace(bench, trials=trials)
        try:
            in_part.prepare(LARGE, [config])
        except GpuLostError as error:
            pytest.skip(str(error))
        part_us, part_aten_us = in_part.median_us(config, launches), in_part.median_us(None)
    share = here.available_sms / PART_SMS
    assert 0.5 * share < part_us / whole_us < 1.5 * share
    assert 0.4 * share < part_aten_us / whole_aten_us < 1.5 * share


def test_a_parts_kernels_reach_so_many_sms_and_no_more() -> None:
    try:
        timer = Timer(sm_count=PART_SMS)
    except (gt.errors.DriverError, ValueError) as error:
        pytest.skip(str(error))
    with torch.cuda.stream(torch.cuda.ExternalStream(timer.stream)):
        assert reached_sms() == timer.sm_count == PART_SMS


def test_aten_is_timed_as_torch_times_it(bench: Bench) -> None:
    bench.prepare(LARGE, [])
    ours_us = bench.median_us(None)
    a = torch.randn(LARGE.m, LARGE.k, device="cuda", dtype=torch.float16)
    b = torch.randn(LARGE.n, LARGE.k, device="cuda", dtype=torch.float16).t()
    times_us: list[float] = []
    for _ in range(9):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        torch.mm(a, b)
        end.record()
        end.synchronize()
        times_us.append(1e3 * start.elapsed_time(end))
    assert ours_us == pytest.approx(statistics.median(times_us), rel=0.3)


@pytest.mark.parametrize("code", [80, 86])
def test_a_smaller_gpus_code_runs_here(code: int, bench: Bench) -> None:
    if bench.here.compute_capability <= code:
        pytest.skip(f"{bench.here} is not newer than compute capability {code / 10:.1f}")
    small = spec_of(bench.here, bench.here.available_sms, code)
    for problem in (EVEN, FEW):
        bench.all_are_right(problem, best_of_both(problem, small), code=small)


def test_the_whole_of_measured_tuning(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    result = gt.tune([EVEN, FEW], top_k=4, records=path)
    assert result.basis == "measured" and len(result.outcomes) == 2
    for outcome in result.outcomes:
        assert outcome.winner.basis == "measured" and outcome.winner.device.name == bench.here.name
        assert outcome.winner.latency_us is not None and outcome.winner.latency_us <= 1.01 * outcome.library_us
    again = gt.tune([EVEN, FEW], top_k=4, records=path)
    assert all(each.resumed for each in again.outcomes)
