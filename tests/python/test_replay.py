"""The replay benchmark on a double of a sweep, whose every number is made up, and on the public A100 table if here."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

import gemm_tuner as gt
import replay
from recorded_timer import Noise, RecordedTimer
from replay_case import cases_of
from replay_rankers import carried_over, fixed_list, trials_to_near
from sweep_file import Recording, Row, read_recording

TABLE = Path(__file__).parents[3] / "shared" / "data" / "triton_mm_a100.csv.gz"
CONFIGS = [[64, 64, 32, 4, 3, 8, 1, 16384, 90, 0], [128, 64, 32, 4, 3, 8, 1, 24576, 120, 0]]
CONFIGS += [[32, 32, 64, 4, 3, 8, 1, 16384, 60, 0], [64, 64, 32, 4, 3, 4, 1, 16384, 90, 0]]
SMALL, LARGE, TINY, GROUPED = (
    gt.GemmConfig(block_m=c[0], block_n=c[1], block_k=c[2], group_m=c[5], split_k=c[6]) for c in CONFIGS
)


def double_of_a_sweep() -> list[dict[str, Any]]:
    """Large tiles win on many SMs, small ones on few; the library is always 10 % behind the best."""
    header = {
        "device": "NVIDIA H100 80GB HBM3",
        "sm_count": 132,
        "arch": 90,
        "code_arch": 86,
        "date": "2000-01-01",
        "columns": ["BM", "BN", "BK", "warps", "stages", "group_m", "split_k", "shared_bytes", "regs", "spills"],
        "configs": CONFIGS,
    }
    lines: list[dict[str, Any]] = []
    for m, n, k in ((512, 512, 512), (1024, 512, 512), (333, 777, 555)):
        for sms, times in ((16, (100, 120, 300, 101)), (64, (60, 40, 90, 61))):
            scale = m * n * k / 2**27
            repeats = {str(i): [us * scale * r for r in (1, 1.01, 0.99, 1, 1.005)] for i, us in enumerate(times)}
            repeats["2"] = repeats["2"][:1]  # hopeless, so dropped after a round
            aten = [min(times) * 1.1 * scale * r for r in (1, 1, 0.99, 1.01) * 2]
            line = {"m": m, "n": n, "k": k, "dtype": "fp16", "layout": "nt", "sms": sms, "aten_us": aten, "t": repeats}
            lines.append({**line, "bad": {}})
    lines[0]["t"].pop("3")
    lines[0]["bad"] = {"3": "error 0.5"}
    return [header, *lines]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in double_of_a_sweep())
    return path


def test_a_sweep_file_is_read_as_it_was_written(sweep: Path) -> None:
    recording = read_recording(sweep)
    assert (recording.sm_counts, len(recording.rows), recording.torn) == ([16, 64], 6, False)
    first = recording.rows[0]
    assert first.problem == gt.GemmProblem(m=512, n=512, k=512, layout="nt")
    assert first.configs == [SMALL, LARGE, TINY]
    assert first.bad == {GROUPED: "error 0.5"}
    assert first.latency_us == {SMALL: 100, LARGE: 120, TINY: 300, None: pytest.approx(110)}
    assert len(first.repeats_us[None]) == 8
    spec = recording.spec(16)
    assert (spec.available_sms, spec.compute_capability, spec.smem_per_block_optin_bytes) == (16, 86, 101376)
    assert recording.rows[4].problem.alignment == 1


def test_a_torn_file_keeps_what_came_before(sweep: Path) -> None:
    sweep.write_bytes(sweep.read_bytes()[:-40])
    assert read_recording(sweep).torn
    plain = sweep.with_name("sweep.jsonl")
    lines = [json.dumps(line) for line in double_of_a_sweep()]
    plain.write_text("\n".join(lines)[:-30])
    recording = read_recording(plain)
    assert (len(recording.rows), recording.torn) == (5, True)
    plain.write_text(lines[1])
    with pytest.raises(ValueError, match="is no sweep's header"):
        read_recording(plain)


def test_the_timer_answers_with_what_was_recorded_in_any_order(sweep: Path) -> None:
    recording = read_recording(sweep)
    row, noise = recording.rows[1], Noise.of(recording)
    timer, other = RecordedTimer(row, noise, (7, 0)), RecordedTimer(row, noise, (7, 0))
    one = timer.repeats_us(SMALL, 0, 6)
    other.repeats_us(LARGE, 0, 50)
    assert other.repeats_us(SMALL, 0, 2) + other.repeats_us(SMALL, 2, 4) == one
    assert set(timer.repeats_us(SMALL, 0, 500)) == set(row.repeats_us[SMALL])
    assert RecordedTimer(row, noise, (8, 0)).repeats_us(SMALL, 0, 6) != one
    # of one repeat alone the others' deviations are taken
    drawn = timer.repeats_us(TINY, 0, 500)
    assert {round(us / 90, 3) for us in drawn} <= {0.985, 0.99, 0.995, 1.0, 1.005, 1.01, 1.015}
    assert len(set(drawn)) > 1


def test_a_file_without_repeats_gets_the_stated_spread() -> None:
    row = Row(gt.GemmProblem(m=64, n=64, k=64), 108, {None: (50.0,), SMALL: (40.0,)}, {})
    noise = Noise.of(Recording("a double", "a100-sxm4-40gb", None, (row,)))
    assert "simulated" in noise.source
    widths = []
    for seed in range(200):
        logs = [math.log(us / 40) for us in RecordedTimer(row, noise, (seed,)).repeats_us(SMALL, 0, 200)]
        widths.append(math.sqrt(sum(x * x for x in logs) / len(logs)))
    widths.sort()
    assert widths[100] == pytest.approx(0.010, rel=0.3)
    assert widths[180] == pytest.approx(0.028, rel=0.4)


def test_the_race_finds_each_sm_counts_own_winner(sweep: Path) -> None:
    for case in cases_of(read_recording(sweep), None, 0):
        verdict = case.timer.run(gt._core.Race(case.order[:8]))
        assert verdict.winner is not None
        assert case.regret(verdict.winner) <= 1.011, case.row
        assert verdict.repeats < 100


def test_rankers_are_judged_by_what_was_measured(sweep: Path) -> None:
    recording = read_recording(sweep)
    few, many = recording.rows[2], recording.rows[3]
    assert (few.sms, many.sms) == (16, 64)
    assert trials_to_near([TINY, LARGE, GROUPED, SMALL], few) == 3  # 101 is within 2 % of 100
    assert trials_to_near([TINY, SMALL, GROUPED, LARGE], many) == 4
    assert fixed_list([few, many]) == {LARGE: 0.25, SMALL: 0.125, GROUPED: 0.375, TINY: 0.75}
    matrix = {line["winner at"]: line for line in carried_over(recording)}
    assert matrix["16 SMs"]["used at 16"] == matrix["64 SMs"]["used at 64"] == 0
    assert matrix["16 SMs"]["used at 64"] == pytest.approx(50)
    assert matrix["64 SMs"]["used at 16"] == pytest.approx(20)


def test_the_report_covers_strategies_groups_and_splits(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main([str(sweep), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == "6 of 6" and "bootstrapped" in report["repeats"]
    race = [line for line in report["regret by budget of repeats"] if line["strategy"] == "race of the model's first"]
    assert [line["budget"] for line in race] == list(replay.BUDGETS)
    assert race[-1]["regret %"] <= 1
    groups = {line["rows"]: line["count"] for line in report["the race of the model's first 8, by group"]}
    assert (groups["all"], groups["16 SMs"], groups["64 SMs"]) == (6, 3, 3)
    assert [line["ranker"] for line in report["rankers, judged by the recorded medians"]][1].endswith("other SM counts")
    assert len(report["regret % of a winner at another SM count"]) == 2
    assert replay.main([str(sweep), "--problems", "2"]) == 0
    assert "rows: 2 of 6" in capsys.readouterr().out


def test_cost_fails_where_a_limit_is_passed(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert replay.main([str(sweep), "--cost", "--check", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0 < report["share of the repeats"] <= 0.4
    monkeypatch.setattr(replay, "COST_LIMIT", report["share of the repeats"] / 2)
    assert replay.main([str(sweep), "--cost", "--check"]) == 1


@pytest.mark.skipif(not TABLE.exists(), reason="the public A100 table is not here")
def test_on_the_a100_table_a_race_costs_a_fraction_of_fixed_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main([str(TABLE), "--cost", "--check", "--problems", "600", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["share of the repeats"] < 0.1
    fixed, raced = report["cost"]
    assert fixed["repeats"] == 900
    assert raced["slower than the library %"] <= 0.5
