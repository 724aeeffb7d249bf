"""The tests of trials on a GPU, rehearsed on the stand-in libcuda (a double, which runs no code and finds every result
right): everything but what only a GPU tells. It is told to be an H100.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import gemm_tuner as gt
from conftest import StandIn, StandInLibrary
from doubles.library import LIBRARY
from doubles.stand_in import KernelTime, write_times
from gemm_tuner import trials as trials_module
from gemm_tuner import tuning
from gemm_tuner.compile import CompilePool
from gpu import test_library_gpu as library_on_gpu
from gpu import test_trials_gpu as on_gpu

H100 = {13: 1980000, 16: 132, 36: 2619000, 37: 5120, 38: 50 << 20, 39: 2048, 75: 9, 76: 0, 81: 233472, 97: 232448}
MACHINE = ";".join(
    [
        "name=NVIDIA H100 80GB HBM3",
        "memory_mb=81920",
        "sm_granularity=8",
        *(f"attribute.{which}={value}" for which, value in H100.items()),
    ]
)
REHEARSED = ("fp16", "fp8")  # all would take minutes


@pytest.fixture
def bench(
    stand_in: StandIn, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[on_gpu.Bench]:
    """All of it; in a part of 16 SMs every kernel takes as much longer as there are SMs fewer."""
    times = [KernelTime(LIBRARY, 12, "*"), KernelTime(LIBRARY, 12 * 132 / 16, "*@16")]
    told = f"{MACHINE};{write_times(tmp_path / 'times.tsv', times)};default_us=10"
    monkeypatch.setattr(trials_module, "ATEN_WORK", "doubles.library:library_work")
    monkeypatch.setenv("GEMM_TUNER_LIBNVML", str(stand_in.path))
    monkeypatch.setenv("FAKE_LIBCUDA", told)
    stand_in.tell(told)
    with tuning.trials_on(gt.device()) as trials, CompilePool() as pool:
        yield on_gpu.Bench(gt.device(), trials, pool)


@pytest.mark.parametrize("name", REHEARSED)
def test_dtypes(name: str, bench: on_gpu.Bench) -> None:
    on_gpu.test_every_dtype_is_right_and_timed_beside_aten(name, bench)


def test_what_else_a_double_can_answer(bench: on_gpu.Bench) -> None:
    on_gpu.test_a_smaller_gpus_code_runs_here(86, bench)
    on_gpu.test_inductors_template_is_right("addmm", bench)


def test_what_only_a_gpu_tells_is_missed_on_a_double(bench: on_gpu.Bench) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        on_gpu.test_a_grid_that_is_too_small_is_found(bench)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        on_gpu.test_an_illegal_address_costs_its_own_trial(bench)
    with pytest.raises(AssertionError):  # its kernels take as long on a part
        on_gpu.test_a_part_of_the_gpu_is_slower_than_the_whole(bench)


def test_the_librarys_algorithms(
    bench: on_gpu.Bench, stand_in: StandIn, stand_in_library: StandInLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LIBCUBLASLT", f"driver={stand_in.path};compute=0")
    for name in REHEARSED:
        library_on_gpu.test_every_algorithm_is_right_and_timed_beside_aten(name, bench)
    library_on_gpu.test_the_heuristics_first_is_about_as_fast_as_aten(bench)
    library_on_gpu.test_the_library_plans_for_a_part(bench)
