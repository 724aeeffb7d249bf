"""Races on a double that plays recorded times: those of the public A100 table, with noise of a stated width.

The stand-in libcuda (a double: it runs no code) is told to be that A100, and of each kernel what the table says that
it took there; the table's cuBLAS stands for the library. Race, compiler and the process of the trials are real.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import gemm_tuner as gt
from conftest import StandIn
from doubles.library import LIBRARY
from doubles.stand_in import KernelTime, write_times
from gemm_tuner._core import LibraryAlgorithm
from gemm_tuner.compile import Compiled, Failed, compile_checks, compile_problems
from gemm_tuner.measuring import Measured, measure
from gemm_tuner.trials import Trials
from timing_table import TimedProblem, read_timing_table

TABLE = Path(__file__).parents[3] / "shared" / "data" / "triton_mm_a100.csv.gz"
pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="the public A100 table is not here")

NOISE = 0.01  # standard deviation of a launch, relative: the spread that is stated for the table
FIXED_REPEATS = 100
A100 = {13: 1410000, 16: 108, 36: 1215000, 37: 5120, 38: 40 << 20, 39: 2048, 75: 8, 76: 0, 81: 167936, 97: 166912}
MACHINE = ";".join(
    ["name=NVIDIA A100-SXM4-40GB", "memory_mb=40960", *(f"attribute.{which}={value}" for which, value in A100.items())]
)
# All of bfloat16, nn, and multiples of 128, so that they have their kernels in common.
TRITON_IS_BEST = ((1024, 4096, 3840), (2048, 2048, 2304))
ABOUT_EQUAL = ((4096, 12672, 1280),)  # Triton's best is quicker by less than the margin
LIBRARY_IS_BEST = ((2048, 1280, 22272),)

Shape = tuple[int, int, int]


@pytest.fixture(scope="module")
def recorded() -> dict[Shape, TimedProblem]:
    """What the table says of the problems."""
    wanted = {*TRITON_IS_BEST, *ABOUT_EQUAL, *LIBRARY_IS_BEST}
    problems = {gt.GemmProblem(m=m, n=n, k=k, dtype="bfloat16", layout="nn"): (m, n, k) for m, n, k in wanted}
    table = read_timing_table(TABLE)
    found = {problems[each.problem]: each for each in table if each.problem in problems}
    assert found.keys() == wanted
    return found


@pytest.fixture(scope="module")
def raced(
    recorded: Mapping[Shape, TimedProblem], stand_in_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Shape, Measured]]:
    """The races of all of them, of every config that the table has a time for."""
    folder, double = tmp_path_factory.mktemp("recorded"), StandIn(stand_in_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEMM_TUNER_LIBCUDA", str(stand_in_path))
        patch.setenv("GEMM_TUNER_LIBNVML", str(stand_in_path))
        patch.setenv("GEMM_TUNER_CACHE_DIR", str(folder / "cache"))
        double.tell(MACHINE)
        device = gt.device()
        assert (device.sm_count, device.compute_capability) == (108, 80)
        wanted = {each.problem: list(each.latency_us) for each in recorded.values()}
        compiled = dict(compile_problems(wanted, device))
        times = [line for each in recorded.values() for line in played(each, compiled[each.problem])]
        patch.setenv("FAKE_LIBCUDA", f"{MACHINE};{write_times(folder / 'times.tsv', times)};noise={NOISE};seed=7")
        checks = dict(compile_checks(wanted, device))
        with Trials(library="doubles.library:library_work") as trials:
            yield {
                shape: race(each, compiled[each.problem], device, trials, checks[each.problem])
                for shape, each in recorded.items()
            }


def played(timed: TimedProblem, compiled: Mapping[gt.GemmConfig, Compiled | Failed]) -> Iterator[KernelTime]:
    """What the double is told of the problem: the table's times, by kernel."""
    sizes = f"{timed.problem.m},{timed.problem.n},{timed.problem.k}"
    yield KernelTime(LIBRARY, timed.library_us, sizes)
    for config, latency_us in timed.latency_us.items():
        result = compiled[config]
        assert isinstance(result, Compiled), result
        yield KernelTime(result.binaries[0].cubin, latency_us, sizes)


def race(
    timed: TimedProblem,
    compiled: Mapping[gt.GemmConfig, Compiled | Failed],
    device: gt.DeviceSpec,
    trials: Trials,
    checks: object,
) -> Measured:
    order = gt.rank(timed.problem, device, top_k=len(compiled), configs=list(compiled))
    candidates = {each.config: compiled[each.config] for each in order}
    assert isinstance(checks, tuple)
    return measure(timed.problem, candidates, device, trials, checks, compile_one=lambda _: Failed("was not asked for"))


@pytest.mark.parametrize("shape", TRITON_IS_BEST + ABOUT_EQUAL + LIBRARY_IS_BEST, ids=str)
def test_the_winner_is_within_two_percent_of_the_tables_best(
    shape: Shape, recorded: Mapping[Shape, TimedProblem], raced: Mapping[Shape, Measured]
) -> None:
    timed, verdict = recorded[shape], raced[shape].verdict
    assert verdict is not None and raced[shape].given_up is None
    assert not isinstance(verdict.winner, LibraryAlgorithm)
    took_us = timed.library_us if verdict.winner is None else timed.latency_us[verdict.winner]
    assert took_us <= 1.02 * min(timed.best_us, timed.library_us), verdict
    assert (verdict.winner is None) == (shape not in TRITON_IS_BEST)
    assert verdict.library_us == pytest.approx(timed.library_us, rel=0.02)
    assert verdict.repeats <= 0.1 * FIXED_REPEATS * (1 + len(timed.latency_us))


def test_every_candidate_was_checked_and_timed_as_the_table_says(
    recorded: Mapping[Shape, TimedProblem], raced: Mapping[Shape, Measured]
) -> None:
    for shape, timed in recorded.items():
        verdict = raced[shape].verdict
        assert verdict is not None
        assert len(timed.latency_us) >= 16 and not raced[shape].failed
        known = {each.choice: each for each in verdict.standings}
        assert known.keys() == {None, *timed.latency_us}
        for config, latency_us in timed.latency_us.items():
            assert known[config].latency_us == pytest.approx(latency_us, rel=4 * NOISE)
            assert known[config].spread < 5 * NOISE
