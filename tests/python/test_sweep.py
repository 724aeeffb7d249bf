"""A sweep on the stand-in libcuda (a double: it runs no code and plays the times that it is told), from candidates to
the file, and the replay of that file. The compiler and the processes that have the GPU are the real ones.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import gemm_tuner as gt
import replay
import sweep
import sweep_space
from conftest import StandIn
from doubles.library import LIBRARY
from doubles.stand_in import KernelTime, write_times
from gemm_tuner import trials
from gemm_tuner.compile import Compiled, compile_candidates
from sweep_file import Recording, read_recording, spec_of

LIBRARY_US = 30.0
SHAPES = [(256, 512, 1024), (64, 512, 1024)]
PROBLEMS = [gt.GemmProblem(m=m, n=n, k=k, layout="nt") for m, n, k in SHAPES]
PER_PROBLEM = 6
Tell = Callable[[Mapping[gt.GemmConfig, float], Mapping[gt.GemmConfig, str]], None]


@pytest.fixture(scope="module", autouse=True)
def _kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of compiled candidates for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.fixture
def machine(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """One RTX 3060, whose partition of 16 SMs takes twice as long; tells it how candidates fare."""
    monkeypatch.setattr(trials, "ATEN_WORK", "doubles.library:library_work")
    monkeypatch.setenv("GEMM_TUNER_LIBNVML", str(stand_in.path))
    monkeypatch.setattr(sweep, "shapes", lambda _: SHAPES)

    def tell(times: Mapping[gt.GemmConfig, float], behaviour: Mapping[gt.GemmConfig, str]) -> None:
        table = [KernelTime(LIBRARY, LIBRARY_US)]
        for config, result in compile_candidates(PROBLEMS[0], [*times, *behaviour], gt.device("rtx-3060")).items():
            assert isinstance(result, Compiled)
            image, us, word = result.binaries[0].cubin, times.get(config, 10.0), behaviour.get(config, "")
            table += [KernelTime(image, us, "*", word), KernelTime(image, 2 * us, "*@16", word)]
        told = f"{write_times(tmp_path / 'times.tsv', table)};default_us=20;noise=0.01;seed=3"
        monkeypatch.setenv("FAKE_LIBCUDA", told)
        stand_in.tell(told)

    tell({}, {})
    return tell


def swept(path: Path, *arguments: str) -> Recording:
    given = ["--out", str(path), "--sms", "0,16,64", "--per-problem", str(PER_PROBLEM), "--workers", "2", *arguments]
    assert sweep.main(given) == 0
    return read_recording(path)


def expected_candidates() -> list[gt.GemmConfig]:
    return sweep_space.candidates(PROBLEMS[0], sweep.Plan(gt.device(), (0, 16)).parts, PER_PROBLEM, kernel="gemm_tuner")


def test_what_is_timed_is_read_back_and_replayed(
    machine: Tell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick, second, hopeless, wrong, *others = expected_candidates()
    machine({quick: 10, second: 14, hopeless: 80, **dict.fromkeys(others, 12)}, {wrong: "wrong"})
    recording = swept(tmp_path / "sweep.jsonl.gz")
    assert recording.device == "NVIDIA GeForce RTX 3060" and recording.code_arch == 86 and not recording.torn
    assert recording.sm_counts == [16, 28]  # it has no 64
    assert [(row.problem, row.sms) for row in recording.rows[:2]] == [(PROBLEMS[0], 28), (PROBLEMS[0], 16)]
    for row, slower in zip(recording.rows[:2], (1, 2), strict=True):
        assert set(row.repeats_us) == {None, quick, second, hopeless, *others}
        assert row.latency_us[quick] == pytest.approx(10 * slower, rel=0.03)
        assert row.latency_us[None] == pytest.approx(LIBRARY_US, rel=0.03)
        assert len(row.repeats_us[quick]) == sweep.ROUNDS
        assert len(row.repeats_us[None]) == 2 * sweep.ROUNDS
        assert len(row.repeats_us[hopeless]) == 1  # dropped after the first round
        assert list(row.bad) == [wrong] and "wrong numbers" in row.bad[wrong]
    assert replay.main([str(tmp_path / "sweep.jsonl.gz"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == "4 of 4" and "bootstrapped" in report["repeats"]
    race = [line for line in report["regret by budget of repeats"] if line["strategy"] == "race of the model's first"]
    assert race[-1]["regret %"] < 3


def test_the_header_tells_what_was_swept_and_the_lines_how_fast_the_clock_was(machine: Tell, tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl.gz"
    swept(path, "--limit", "1", "--rounds", "2")
    header, *lines = map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
    assert header["basis"] == "measured" and header["arch"] == header["code_arch"] == 86
    assert header["torch"] and header["triton"] and header["gemm_tuner"]
    assert header["columns"][-3:] == ["shared_bytes", "regs", "spills"]
    assert all(row[-3] > 0 and row[-2] > 16 for row in header["configs"])
    assert [line["sms"] for line in lines] == [28, 16]
    low, median, high = lines[0]["sm_mhz"]
    assert 0 < low <= median <= high


def test_another_gpus_code_is_run_under_its_limit_of_shared_memory(machine: Tell, tmp_path: Path) -> None:
    recording = swept(tmp_path / "sweep.jsonl", "--code-device", "a100-sxm4-40gb", "--limit", "1", "--rounds", "1")
    assert recording.code_arch == 80
    spec = recording.spec(16)
    assert (spec.compute_capability, spec.available_sms) == (80, 16)
    assert spec.smem_per_block_optin_bytes == 101376  # what the GPU has, though an A100 would let a CTA have more
    assert all(len(row.configs) == PER_PROBLEM for row in recording.rows)


def test_candidates_that_break_their_process_cost_the_others_their_times(machine: Tell, tmp_path: Path) -> None:
    first, second, *_ = expected_candidates()
    machine({}, {first: "exit", second: "fault=719"})
    path = tmp_path / "sweep.jsonl.gz"
    recording = swept(path)
    faulty, faulty_too, other, _ = recording.rows
    assert faulty_too.bad == faulty.bad  # nobody breaks it twice
    assert set(faulty.bad) == {first, second} and "SIGKILL" in faulty.bad[first]
    lines = list(map(json.loads, gzip.decompress(path.read_bytes()).splitlines()))
    assert "2 trials of it broke the process" in lines[1]["why"]
    assert other.problem == PROBLEMS[1]


@pytest.mark.parametrize("minutes", [0.02, 0.15])
def test_the_time_is_a_hard_limit_and_the_file_is_whole(minutes: float, machine: Tell, tmp_path: Path) -> None:
    first, *_ = expected_candidates()
    machine({}, {first: "hang"})
    path = tmp_path / "sweep.jsonl.gz"
    start_s = time.monotonic()
    code = sweep.main(["--out", str(path), "--minutes", str(minutes), "--sms", "0", "--per-problem", str(PER_PROBLEM)])
    assert time.monotonic() - start_s < 60 * minutes + 5
    recording = read_recording(path)
    assert code == (0 if recording.rows else 1)
    assert not recording.torn and len(recording.rows) <= 1


def test_a_partition_that_the_driver_does_not_make_is_left_out(
    machine: Tell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = swept(tmp_path / "sweep.jsonl", "--sms", "0,15", "--limit", "1", "--rounds", "1")
    assert recording.sm_counts == [28]
    assert "15 SMs are left out: The GPU can be parted into 16 SMs where 15 were asked for" in capsys.readouterr().err


def test_candidates_are_one_half_predicted_one_half_drawn_and_shared() -> None:
    parts = [gt.device("h100-sxm").with_available_sms(sms) for sms in (132, 16)]
    count = 24
    found = {}
    for m, n, k in ((4096, 4096, 4096), (2048, 4096, 4096)):
        problem = gt.GemmProblem(m=m, n=n, k=k, layout="nt")
        chosen = found[m] = sweep_space.candidates(problem, parts, count, kernel="gemm_tuner")
        assert len(set(chosen)) == count
        legal = [set(gt.space(problem, part)) for part in parts]
        assert all(each in legal[0] | legal[1] for each in chosen)
        for part in parts:
            assert gt.rank(problem, part, top_k=1)[0].config in chosen[:2]
        assert sweep_space.candidates(problem, parts, count, kernel="gemm_tuner") == chosen
        other = sweep_space.candidates(problem, parts, count, kernel="gemm_tuner", seed=1)
        assert other[: count // 2] == chosen[: count // 2] and other != chosen
    drawn, drawn_too = (set(each[count // 2 :]) for each in found.values())
    assert len(drawn & drawn_too) > count // 4
    assert len({each.group_m for each in drawn}) > 1
    long = gt.GemmProblem(m=64, n=64, k=16384, layout="nt")
    assert {each.family for each in sweep_space.candidates(long, parts, count, kernel="inductor")} == {"tiled"}
    assert "split_k" in {each.family for each in sweep_space.candidates(long, parts, count, kernel="gemm_tuner")}


def test_shapes_are_many_distinct_and_of_every_kind_from_the_start() -> None:
    found = sweep_space.shapes()
    assert len(found) > 140 and len(set(found)) == len(found)
    assert found == sweep_space.shapes() != sweep_space.shapes(1)
    start = found[:40]
    assert any(n % 8 for _, n, _ in start) and any(k >= 8192 for *_, k in start) and any(m <= 16 for m, *_ in start)
    assert (512, 8192, 2048) in found  # of Llama-3.2-1B


def test_a_gpu_that_is_not_here_is_said_so(
    machine: Tell, stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "sweep.jsonl"), "--limit", "1", "--per-problem", "2"]
    assert sweep.main([*arguments, "--code-device", "h100-sxm"]) == 2
    assert "does not run on 8.6" in capsys.readouterr().err
    stand_in.tell("devices=0")
    assert sweep.main(arguments) == 2
    assert "sweep.py: " in capsys.readouterr().err


def test_code_is_seen_with_the_lesser_limit() -> None:
    h100 = gt.device("h100-sxm")
    assert spec_of(h100, 32).smem_per_block_optin_bytes == h100.smem_per_block_optin_bytes
    small = spec_of(h100, 32, 86)
    assert (small.compute_capability, small.available_sms, small.smem_per_block_optin_bytes) == (86, 32, 101376)
