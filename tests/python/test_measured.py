"""Tuning by measuring, from the problems to the records, on the stand-in libcuda (a double: it runs no code, and plays
the times that it is told; the library's kernel is a double too). The process that has the GPU, the compiler and the
race are the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import gemm_tuner as gt
from conftest import StandIn
from doubles.library import LIBRARY
from doubles.stand_in import KernelTime, write_times
from gemm_tuner import trials
from gemm_tuner.cli import main
from gemm_tuner.compile import Compiled, Kernel, compile_candidates
from gemm_tuner.errors import GpuLostError
from gemm_tuner.records import Record, read

PROBLEM = gt.GemmProblem(m=128, n=256, k=512, layout="nt")
OTHER = gt.GemmProblem(m=64, n=256, k=512, layout="nt")
LIBRARY_US = 30.0
OURS: Kernel = "gemm_tuner"  # Inductor's templates take a while longer to make
Machine = Callable[..., gt.DeviceSpec]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of compiled candidates for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("kernels")
        patch.setenv("GEMM_TUNER_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture
def machine(
    stand_in: StandIn, kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., gt.DeviceSpec]:
    """Tells the double how long candidates take, here and in the processes that are started; gives its device."""
    monkeypatch.setattr(trials, "ATEN_WORK", "doubles.library:library_work")
    monkeypatch.setenv("GEMM_TUNER_LIBNVML", str(stand_in.path))

    def tell(
        times: Mapping[gt.GemmConfig, float] | None = None,
        behaviour: Mapping[gt.GemmConfig, str] | None = None,
        *,
        problem: gt.GemmProblem = PROBLEM,
        kernel: Kernel = "gemm_tuner",
        more: str = "noise=0.01;seed=3",
        sizes: str = "*",
    ) -> gt.DeviceSpec:
        stand_in.tell("")
        device = gt.device()
        times, behaviour = times or {}, behaviour or {}
        compiled = compile_candidates(problem, [*times, *behaviour], device, kernel=kernel)
        table = [KernelTime(LIBRARY, LIBRARY_US)]
        for config, result in compiled.items():
            assert isinstance(result, Compiled)
            word, image = behaviour.get(config, ""), result.binaries[0].cubin
            table.append(KernelTime(image, times.get(config, 5.0), behaviour=word, sizes=sizes))
        told = f"{write_times(tmp_path / 'times.tsv', table)};default_us=100;{more}"
        monkeypatch.setenv("FAKE_LIBCUDA", told)
        stand_in.tell(told)
        return device

    return tell


def ranked(problem: gt.GemmProblem = PROBLEM, top_k: int = 4) -> list[gt.GemmConfig]:
    return [each.config for each in gt.rank(problem, gt.device("rtx-3060"), top_k=top_k)]


def trial_of(path: Path, config: gt.GemmConfig | None) -> Record:
    (found,) = [each for each in read(path).records if each.kind == "trial" and each.choice == config]
    return found


@pytest.mark.parametrize("kernel", ["inductor", "gemm_tuner"])
def test_the_quickest_wins_and_everything_measured_is_kept(kernel: Kernel, machine: Machine, tmp_path: Path) -> None:
    first, second, third, fourth = ranked()
    device = machine({first: 40.0, second: 20.0, third: 25.0, fourth: 60.0}, kernel=kernel)
    counted, path = gt.CountedProblem(PROBLEM, 7), tmp_path / "records.jsonl"
    result = gt.tune([counted], kernel=kernel, top_k=4, records=path)
    (outcome,) = result.outcomes
    winner = outcome.winner
    assert result.basis == winner.basis == "measured"
    assert winner.choice == second and winner.count == 7
    assert winner.latency_us == pytest.approx(20.0, rel=0.02)
    assert outcome.library_us == pytest.approx(LIBRARY_US, rel=0.02)
    assert winner.spread is not None and 0 < winner.spread < 0.03
    assert winner.clocks is not None and winner.clocks.sm_mhz
    assert winner.resources is not None and winner.device.name == device.name
    assert winner.kernel.startswith("inductor::mm@" if kernel == "inductor" else "gemm_tuner::tiled@")
    for config, latency_us in ((None, LIBRARY_US), (first, 40.0), (third, 25.0), (fourth, 60.0)):
        trial = trial_of(path, config)
        assert trial.basis == "measured" and trial.latency_us == pytest.approx(latency_us, rel=0.03)
    (again,) = gt.tune([counted], kernel=kernel, top_k=4, records=path).outcomes
    assert again.resumed and again.winner == winner and again.library_us == outcome.library_us


def test_the_library_stays_where_no_candidate_beats_it(machine: Machine) -> None:
    machine(dict(zip(ranked(), (29.9, 40.0, 50.0, 60.0), strict=True)))
    (outcome,) = gt.tune([PROBLEM], kernel=OURS, top_k=4).outcomes
    assert outcome.winner.choice is None and outcome.winner.basis == "measured"
    assert outcome.winner.latency_us == pytest.approx(LIBRARY_US, rel=0.02)
    assert "no candidate beats it" in outcome.winner.reason
    assert outcome.best is not None and outcome.best.choice == ranked()[0]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("wrong", "wrong numbers: 7 elements are off"),
        ("fault=719", "CUDA_ERROR_LAUNCH_FAILED"),
        ("exit", "killed by SIGKILL"),
        ("oom", "CUDA_ERROR_OUT_OF_MEMORY"),
    ],
)
def test_a_candidate_that_goes_wrong_costs_its_own_trial(
    behaviour: str, reason: str, machine: Machine, tmp_path: Path
) -> None:
    first, second, third, fourth = ranked()
    machine({second: 20.0, third: 25.0, fourth: 60.0}, {first: behaviour})
    (outcome,) = gt.tune([PROBLEM], kernel=OURS, top_k=4, records=tmp_path / "records.jsonl").outcomes
    assert outcome.winner.choice == second and outcome.winner.basis == "measured"
    out = trial_of(tmp_path / "records.jsonl", first)
    assert out.latency_us is None and reason in out.reason


def test_a_candidate_that_hangs_is_given_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ranked(top_k=2)
    machine({second: 20.0}, {first: "hang"})
    monkeypatch.setattr(trials, "TIMEOUT_S", 5.0)
    (outcome,) = gt.tune([PROBLEM], kernel=OURS, top_k=2).outcomes
    assert outcome.winner.choice == second


def test_after_two_faults_the_problem_is_left_with_aten_and_the_run_goes_on(machine: Machine, tmp_path: Path) -> None:
    configs = ranked()
    machine({configs[2]: 5.0}, {configs[0]: "exit", configs[1]: "fault=700"}, sizes="128,256,512")
    result = gt.tune([PROBLEM, OTHER], kernel=OURS, top_k=4, records=tmp_path / "records.jsonl")
    faulty, other = (each.winner for each in result.outcomes)
    assert faulty.choice is None and "2 trials of it broke the process" in faulty.reason
    assert other.basis == "measured" and other.problem == OTHER
    again = gt.tune([PROBLEM, OTHER], kernel=OURS, top_k=4, records=tmp_path / "records.jsonl")
    assert all(each.resumed for each in again.outcomes)


def test_when_the_gpu_is_lost_the_run_ends_with_what_is_known(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth = ranked()
    machine({second: 20.0, third: 20.1, fourth: 19.9}, {first: "fault=719"})  # so close that there are more rounds
    start, starts = trials.Trials._start, []

    def once(self: trials.Trials) -> None:
        starts.append(1)
        if len(starts) > 1:
            monkeypatch.setenv("FAKE_LIBCUDA", "devices=0")
        start(self)

    monkeypatch.setattr(trials.Trials, "_start", once)
    with pytest.raises(GpuLostError, match="The GPU cannot be used: The NVIDIA driver sees no GPU"):
        gt.tune([PROBLEM], kernel=OURS, top_k=4, records=tmp_path / "records.jsonl")
    known = read(tmp_path / "records.jsonl").records
    assert {each.kind for each in known} == {"trial"}
    assert "CUDA_ERROR_LAUNCH_FAILED" in trial_of(tmp_path / "records.jsonl", first).reason


def test_leaders_are_raced_with_other_groups_and_splits(machine: Machine) -> None:
    large = gt.GemmProblem(m=2048, n=2048, k=2048, layout="nt")
    leader = ranked(large, top_k=1)[0]
    space = gt.space(large, machine())
    variants = [each for each in space if each != leader and each.replace(group_m=leader.group_m) == leader]
    assert variants
    machine({leader: 20.0, **dict.fromkeys(variants, 15.0)}, problem=large)
    (outcome,) = gt.tune([large], kernel=OURS, top_k=1).outcomes
    assert outcome.winner.choice in variants


def test_with_an_sm_budget_it_is_measured_in_a_partition(machine: Machine, stand_in: StandIn, tmp_path: Path) -> None:
    first, second = ranked(top_k=2)
    machine({first: 10.0, second: 10.0})
    device = gt.device(sm_budget=16)
    (outcome,) = gt.tune([PROBLEM], device, measured=True, kernel=OURS, top_k=2).outcomes
    assert outcome.winner.device.available_sms == 16 and outcome.winner.basis == "measured"


def test_another_gpu_than_the_one_here_is_refused(machine: Machine) -> None:
    machine()
    with pytest.raises(gt.errors.NoDeviceError, match="cannot be measured: the GPU here is NVIDIA GeForce RTX 3060"):
        gt.tune([PROBLEM], gt.device("l4"), measured=True)


def test_the_command_measures_on_the_gpu_here_unless_it_is_told_to_predict(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = ranked(top_k=2)
    machine({first: 20.0, second: 25.0})
    gt.write_problems(tmp_path / "problems.jsonl", [gt.CountedProblem(PROBLEM)])
    command = ["tune", str(tmp_path / "problems.jsonl"), "--top-k", "2", "--kernel", OURS, "--json", "-o"]
    assert main([*command, str(tmp_path / "predicted.jsonl"), "--predict"]) == 0
    assert json.loads(capsys.readouterr().out)["basis"] == "predicted"
    assert main([*command, str(tmp_path / "records.jsonl")]) == 0
    said = capsys.readouterr()
    (found,) = json.loads(said.out)["problems"]
    assert found["basis"] == "measured" and found["choice"] == first.to_dict()
    assert "1 of 1 tuned, about 0 s left" in said.err
