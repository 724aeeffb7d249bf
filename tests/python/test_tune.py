"""The whole job, with a double in the compiler's place: what is chosen, what is kept, how it goes on."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from compile_double import CompileDouble, compiled, failed
from gemm_tuner import CountedProblem, DeviceSpec, GemmProblem, predict_library, rank, settling, tuning
from gemm_tuner.devices import device
from gemm_tuner.errors import GemmTunerError, RecordsError
from gemm_tuner.records import Record, Versions, append, read
from gemm_tuner.settling import MARGIN, settle
from gemm_tuner.tuning import Progress, current_kernels, tune

DECODE = CountedProblem(GemmProblem(m=16, n=2048, k=8192, layout="nt", dtype="bfloat16"), 16)
PREFILL = CountedProblem(GemmProblem(m=512, n=2048, k=2048, layout="nt", dtype="bfloat16"), 32)
VERSIONS = Versions("0.1.0", triton="3.7.1")


@pytest.fixture
def rtx_3060() -> DeviceSpec:
    return device("rtx-3060")


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> CompileDouble:
    double = CompileDouble()
    monkeypatch.setattr(tuning, "compile_problems", double)
    return double


def fast_library(monkeypatch: pytest.MonkeyPatch, latency_us: float) -> None:
    for module in (tuning, settling):
        monkeypatch.setattr(module, "predict_library", lambda problem, device: latency_us)


def settled(counted: CountedProblem, spec: DeviceSpec, *spoilt: Any) -> tuple[list[Record], Any]:
    """Eight candidates, the first of them spoilt as given."""
    candidates = [each.config for each in rank(counted.problem, spec, top_k=8)]
    answers = {config: compiled(counted.problem, config, spec) for config in candidates}
    answers.update(zip(candidates, spoilt, strict=False))
    return settle(counted, answers, spec, VERSIONS)


def test_a_config_replaces_the_library_only_beyond_the_margin(
    rtx_3060: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    best_us = rank(PREFILL.problem, rtx_3060, top_k=1)[0].latency_us
    fast_library(monkeypatch, best_us / (1 - MARGIN) * 1.001)
    trials, outcome = settled(PREFILL, rtx_3060)
    assert outcome.winner.choice == min(trials[1:], key=lambda trial: trial.latency_us or math.inf).choice
    assert outcome.winner.latency_us == pytest.approx(best_us)
    assert outcome.winner.resources is not None and outcome.waves > 0
    assert outcome.winner.kernel in current_kernels()

    fast_library(monkeypatch, best_us / (1 - MARGIN) * 0.999)
    _, outcome = settled(PREFILL, rtx_3060)
    assert outcome.winner.choice is None and outcome.best is not None
    assert outcome.best.latency_us == pytest.approx(best_us)
    assert outcome.winner.kernel == "aten::mm"
    assert "margin" in outcome.winner.reason


def test_every_trial_is_kept_predicted_and_with_its_reason(
    rtx_3060: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_library(monkeypatch, 1e6)
    spilling = [
        compiled(PREFILL.problem, each.config, rtx_3060, spill_bytes=128)
        for each in rank(PREFILL.problem, rtx_3060, top_k=2)[1:]
    ]
    trials, outcome = settled(PREFILL, rtx_3060, failed("the compiler crashed"), *spilling)
    assert [trial.kind for trial in trials] == ["trial"] * 9
    assert {trial.basis for trial in [*trials, outcome.winner]} == {"predicted"}
    assert {trial.count for trial in trials} == {32}
    library, crashed, spilt, *good = trials
    assert (library.kernel, library.latency_us) == ("aten::mm", 1e6)
    assert crashed.latency_us is None and "the compiler crashed" in crashed.reason and crashed.resources is None
    assert spilt.latency_us is None and "spill" in spilt.reason
    assert spilt.resources is not None and spilt.resources.spill_bytes == 128
    assert all(trial.latency_us is not None and trial.resources is not None for trial in good)
    assert outcome.winner.choice in [trial.choice for trial in good]


def test_real_resources_rerank(rtx_3060: DeviceSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first candidate that leaves room for one CTA only loses its place."""
    fast_library(monkeypatch, 1e6)
    first = rank(PREFILL.problem, rtx_3060, top_k=1)[0].config
    greedy = compiled(PREFILL.problem, first, rtx_3060, smem_bytes=rtx_3060.smem_per_block_optin_bytes)
    trials, outcome = settled(PREFILL, rtx_3060, greedy)
    assert outcome.winner.choice != first
    assert (
        trials[1].latency_us is not None
        and trials[1].latency_us > rank(PREFILL.problem, rtx_3060, top_k=1)[0].latency_us
    )


def test_where_nothing_is_fit_the_library_stays_and_says_why(rtx_3060: DeviceSpec) -> None:
    _, outcome = settled(PREFILL, rtx_3060, *[failed("no memory left")] * 8)
    assert outcome.winner.choice is None
    assert "no candidate is fit" in outcome.winner.reason and "no memory left" in outcome.winner.reason
    assert outcome.winner.latency_us == predict_library(PREFILL.problem, rtx_3060)


def test_without_tensor_cores_from_triton_one_compile_is_evidence_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(place: int, answer: Any) -> Any:
        answer.resources = answer.resources.replace(tensor_core_instructions=0)
        return answer

    double = CompileDouble(spoil=without)
    monkeypatch.setattr(tuning, "compile_problems", double)
    half = GemmProblem(m=512, n=2048, k=2048)
    (outcome,) = tune([half], "t4").outcomes
    assert [len(configs) for _, configs in double.asked] == [1]
    assert outcome.winner.choice is None
    assert "tensor-core" in outcome.winner.reason


def test_what_only_inductor_computes_is_predicted_without_compiling(
    double: CompileDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    both, path = GemmProblem(m=512, n=2048, k=2048, op="mm_plus_mm", dtype="bfloat16"), tmp_path / "r.jsonl"
    fast_library(monkeypatch, 1e6)
    outcome = tune([both, PREFILL], "rtx-3060", top_k=3, records=path).outcomes[0]
    assert [problem for problem, _ in double.asked] == [PREFILL.problem]
    best = rank(both, device("rtx-3060"), top_k=3)[0]
    assert outcome.winner.choice == best.config
    assert outcome.winner.latency_us == pytest.approx(best.latency_us)
    trials = [each for each in read(path).records if each.problem == both and each.kind == "trial"]
    assert [each.kernel for each in trials] == ["aten::mm_plus_mm", *["inductor::mm_plus_mm"] * 3]
    assert {(each.basis, each.resources) for each in (*trials, outcome.winner)} == {("predicted", None)}
    assert tune([both], "rtx-3060", records=path).outcomes[0].resumed

    monkeypatch.undo()
    (turing,) = tune([both.replace(a_dtype="float16", b_dtype="float16", out_dtype="float16")], "t4").outcomes
    assert turing.winner.choice is None and "tensor-core" in turing.winner.reason
    (shallow,) = tune([both.replace(k=16)], "rtx-3060").outcomes
    assert shallow.winner.choice is None and "block_k must be below k" in shallow.winner.reason


def test_problems_are_merged_and_the_slowest_go_first(double: CompileDouble, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = tune(
        [DECODE, PREFILL, CountedProblem(DECODE.problem, 4)],
        "rtx-3060",
        top_k=3,
        records=tmp_path / "r.jsonl",
        on_progress=seen.append,
    )
    assert [problem for problem, _ in double.asked] == [PREFILL.problem, DECODE.problem]
    assert [len(configs) for _, configs in double.asked] == [3, 3]
    assert [(each.winner.problem, each.winner.count) for each in result.outcomes] == [
        (DECODE.problem, 20),
        (PREFILL.problem, 32),
    ]
    assert [(each.done, each.total) for each in seen] == [(0, 2), (1, 2), (2, 2)]
    assert result.unfinished == ()
    kept = read(tmp_path / "r.jsonl").records
    assert [record.kind for record in kept] == (["trial"] * 4 + ["winner"]) * 2
    assert [r for r in kept if r.kind == "winner"] == [result.outcomes[1].winner, result.outcomes[0].winner]


def test_a_second_run_takes_what_is_on_record(double: CompileDouble, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    first = tune([PREFILL], "rtx-3060", records=path)
    before = path.read_bytes()
    second = tune([PREFILL], "rtx-3060", records=path)
    assert len(double.asked) == 1
    assert path.read_bytes() == before
    assert [each.winner for each in second.outcomes] == [each.winner for each in first.outcomes]
    assert second.outcomes[0].resumed and not first.outcomes[0].resumed
    assert second.outcomes[0].waves == first.outcomes[0].waves
    tune([PREFILL], device("rtx-3060", sm_budget=14), records=path)
    tune([PREFILL], "rtx-4060", records=path)
    assert len(double.asked) == 3


def test_a_record_of_another_kernel_source_is_no_answer(
    double: CompileDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_library(monkeypatch, 1e6)
    path = tmp_path / "r.jsonl"
    tune([PREFILL], "rtx-3060", records=path)
    current = next(iter({r.kernel for r in read(path).records if r.kind == "winner"}))
    path.write_text(path.read_text().replace(current, current[:-4] + "0000"))
    assert not tune([PREFILL], "rtx-3060", records=path).outcomes[0].resumed


def test_a_spent_budget_stops_and_names_what_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    double = CompileDouble(seconds=0.2)
    monkeypatch.setattr(tuning, "compile_problems", double)
    result = tune([DECODE, PREFILL], "rtx-3060", budget_s=0.1, records=tmp_path / "r.jsonl")
    assert [each.winner.problem for each in result.outcomes] == [PREFILL.problem]
    assert result.unfinished == (DECODE,)
    assert tune([DECODE], "rtx-3060", budget_s=0.0).unfinished == (DECODE,)
    rest = tune([DECODE, PREFILL], "rtx-3060", records=tmp_path / "r.jsonl")
    assert [each.resumed for each in rest.outcomes] == [False, True]


def test_bad_input_is_refused_before_any_work(double: CompileDouble, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="top_k"):
        tune([PREFILL], "rtx-3060", top_k=0)
    with pytest.raises(GemmTunerError, match="near"):
        tune([PREFILL], "rtx-9999")
    with pytest.raises(RecordsError, match="no folder"):
        tune([PREFILL], "rtx-3060", records=tmp_path / "none" / "r.jsonl")
    (tmp_path / "notes.txt").write_text("mine\n")
    with pytest.raises(RecordsError, match="not a records file"):
        tune([PREFILL], "rtx-3060", records=tmp_path / "notes.txt")
    assert double.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


SLOW_RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell job starts with it ignored
sys.path.insert(0, sys.argv[1])
from compile_double import CompileDouble
from gemm_tuner import tuning
tuning.compile_problems = CompileDouble(seconds=float(sys.argv[2]))
from gemm_tuner.cli import main
sys.exit(main(sys.argv[3:]))
"""


def run_cli(*arguments: str, seconds: float = 0.0) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", SLOW_RUN, here, str(seconds), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    from gemm_tuner import write_problems

    path = tmp_path / "problems.jsonl"
    write_problems(path, [CountedProblem(GemmProblem(m=m, n=2048, k=2048)) for m in range(8, 72, 8)])
    return path


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_goes_on_where_it_was(many: Path, tmp_path: Path, how: signal.Signals) -> None:
    records = tmp_path / "r.jsonl"
    arguments = ("tune", str(many), "--device", "rtx-3060", "-o", str(records))
    run = run_cli(*arguments, seconds=0.3)
    while not (records.exists() and sum(r.kind == "winner" for r in read(records).records) >= 2):
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(how)
    _, said = run.communicate(timeout=30)
    assert run.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    if how == signal.SIGINT:
        assert "again to go on" in said and "Traceback" not in said
    before = {r.problem for r in read(records).records if r.kind == "winner"}
    assert 2 <= len(before) < 8
    with open(records, "ab") as file:
        file.write(b'{"schema": "gemm_tuner.rec')  # the worst a kill can leave behind
    run = run_cli(*arguments)
    run.communicate(timeout=60)
    assert run.returncode == 0
    contents = read(records)
    winners = [r.problem for r in contents.records if r.kind == "winner"]
    assert len(winners) == len(set(winners)) == 8
    assert len(contents.skipped) == 1


def test_a_disk_that_fills_up_ends_the_run_in_a_sentence(
    double: CompileDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    path, write, left = tmp_path / "r.jsonl", os.write, [3]

    def full_after_three(descriptor: int, data: bytes) -> int:
        left[0] -= 1
        return write(descriptor, data if left[0] >= 0 else data[:20])

    monkeypatch.setattr("gemm_tuner.records.file.os.write", full_after_three)
    with pytest.raises(RecordsError, match="No space left"):
        tune([PREFILL], "rtx-3060", records=path)
    monkeypatch.undo()
    assert len(read(path).records) == 3
    assert read(path).skipped == ()
    append(path, [])


@pytest.mark.parametrize(("name", "compiles"), [("rtx-3060", 2), ("t4", 1)])
def test_with_the_compiler_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, compiles: int) -> None:
    """No double here: Triton compiles for GPUs that are not in the machine."""
    pytest.importorskip("triton")
    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path / "cache"))
    problem = GemmProblem(m=256, n=512, k=1024, layout="nt")
    (outcome,) = tune([problem], name, top_k=2, workers=2, records=tmp_path / "r.jsonl").outcomes
    trials = [r for r in read(tmp_path / "r.jsonl").records if r.kind == "trial" and r.choice is not None]
    assert len(trials) == compiles
    for trial in trials:
        assert trial.resources is not None and trial.resources.registers_per_thread > 0
        assert (trial.resources.tensor_core_instructions > 0) == (name == "rtx-3060")
        assert (trial.latency_us is None) == (name == "t4")
    if name == "t4":
        assert outcome.winner.choice is None and "tensor-core" in outcome.winner.reason
