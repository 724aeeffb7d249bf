"""Runs search strategies and rankers against recorded timings: no GPU, and every answer can be checked.

    python benchmarks/replay.py FILE [--device NAME] [--problems N] [--top-k K] [--seed S] [--json]
    python benchmarks/replay.py FILE --cost [--check]

FILE is a sweep (sweep_file.py) or a timing table (timing_table.py). The recorded medians are taken for the truth; the
repeats that a strategy is told are drawn as recorded_timer.py says, and the report repeats it. Regret: how much longer
the answer takes than the best recorded choice, the library among them; geometric mean over rows.

--cost: a race of the model's first K candidates and the library, against timing each of them 100 times; regret here is
over the best of just these. --check exits 1 where the race takes over 40 % of the repeats, or where its regret is over
0.1 percentage points above that of the fixed repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import gemm_tuner as gt
from gemm_tuner._core import BlindRace, Exhaustive, Race, RaceOptions, RandomSearch, Strategy, Verdict
from gemm_tuner.tuning import MARGIN
from model_quality import geometric_mean
from recorded_timer import Noise
from replay_case import Case, cases_of, percent
from replay_rankers import Line, carried_over, rankers
from sweep_file import Choice, Recording, read_recording

FIXED_REPEATS = 100
COST_LIMIT = 0.40
EQUAL_REGRET = 0.001
SLOWER = 1.01
BUDGETS = (20, 40, 80, 160, 320)
WAVES = (0.5, 1.0, 2.0, 8.0, float("inf"))


def slower_than_library(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> float:
    """Percentage of the rows with a library time whose answer takes over 1 % longer than the library."""
    pairs = [(c, v) for c, v in zip(cases, verdicts, strict=True) if None in c.row.latency_us]
    slower = sum(case.regret(verdict.winner, [None]) > SLOWER for case, verdict in pairs)
    return round(100 * slower / max(len(pairs), 1), 2)


Maker = Callable[[Case, int, int], Strategy]  # of a case, top_k and the budget of repeats

STRATEGIES: Mapping[str, Maker] = {
    "race of the model's first": lambda case, top_k, budget: Race(
        case.order[:top_k], RaceOptions(budget_repeats=budget, seed=case.seed), case.order
    ),
    "race without a model": lambda case, _, budget: BlindRace(
        case.order, RaceOptions(budget_repeats=budget, seed=case.seed)
    ),
    "the model's first, fixed repeats": lambda case, top_k, budget: Exhaustive(
        case.order[:top_k], RaceOptions(repeats=FIXED_REPEATS, budget_repeats=budget, seed=case.seed)
    ),
    "random, five repeats": lambda case, _, budget: RandomSearch(
        case.order, RaceOptions(repeats=5, budget_repeats=budget, seed=case.seed)
    ),
}


def by_budget(cases: list[Case], top_k: int) -> list[Line]:
    """Regret of each strategy at each budget of repeats, and how many it used and how many choices it tried."""
    lines = []
    for name, make in STRATEGIES.items():
        for budget in BUDGETS:
            verdicts = [case.timer.run(make(case, top_k, budget)) for case in cases]
            lines.append(
                {
                    "strategy": name,
                    "budget": budget,
                    "regret %": percent(c.regret(v.winner) for c, v in zip(cases, verdicts, strict=True)),
                    "slower than the library %": slower_than_library(cases, verdicts),
                    "repeats": round(statistics.mean(v.repeats for v in verdicts), 1),
                    "choices": round(statistics.mean(sum(s.repeats > 0 for s in v.standings) for v in verdicts), 1),
                }
            )
    return lines


def without_timing(cases: list[Case], recording: Recording) -> list[Line]:
    """What asking nobody costs: the library always, the model's first always, the one of them that is predicted."""

    def predicted(case: Case) -> Choice:
        spec = recording.spec(case.row.sms)
        first = gt.rank(case.row.problem, spec, top_k=1, configs=case.row.configs)
        library_us = gt.predict_library(case.row.problem, spec)
        return first[0].config if first and first[0].latency_us < library_us * (1 - MARGIN) else None

    timed = [case for case in cases if None in case.row.repeats_us]
    return [
        {"choice": "the library", "regret %": percent(case.regret(None) for case in timed)},
        {"choice": "the model's first", "regret %": percent(case.regret(case.order[0]) for case in timed)},
        {"choice": "either, as predicted", "regret %": percent(case.regret(predicted(case)) for case in timed)},
    ]


def groups_of(case: Case, recording: Recording) -> list[tuple[int, float, str]]:
    """What the row counts for, sortable: its kind of group, its place among them, its name."""
    groups = [(0, 0.0, "all")]
    if len(recording.sm_counts) > 1:
        groups.append((1, case.row.sms, f"{case.row.sms} SMs"))
    bounds = zip((0.0, *WAVES), WAVES, strict=False)
    return groups + [(2, low, f"{low:g} to {high:g} waves") for low, high in bounds if low <= case.waves < high]


def by_group(cases: list[Case], recording: Recording, top_k: int) -> list[Line]:
    """The race at its usual budget, and how often the quickest config of one repeat is not that of the next."""
    usual = RaceOptions().budget_repeats
    groups: dict[tuple[int, float, str], list[tuple[Case, Verdict, float | None]]] = {}
    for case in cases:
        raced = case.timer.run(STRATEGIES["race of the model's first"](case, top_k, usual))
        for group in groups_of(case, recording):
            groups.setdefault(group, []).append((case, raced, flip(case)))
    lines = []
    for (_, _, name), members in sorted(groups.items()):
        flips = [cost for _, _, cost in members if cost is not None]
        lines.append(
            {
                "rows": name,
                "count": len(members),
                "race: regret %": percent(case.regret(verdict.winner) for case, verdict, _ in members),
                "repeats": round(statistics.mean(verdict.repeats for _, verdict, _ in members), 1),
                "library kept": round(statistics.mean(verdict.winner is None for _, verdict, _ in members), 3),
                "out of budget": round(statistics.mean(verdict.decided_by == "budget" for _, verdict, _ in members), 3),
                "winner flips": round(len(flips) / len(members), 3),
                "a flip costs %": percent(flips) if flips else None,
            }
        )
    return lines


def flip(case: Case) -> float | None:
    """The true ratio of the two, where one repeat's quickest config is not the next one's; None where it is."""
    first, second = (min(case.row.configs, key=lambda c: case.timer.repeats_us(c, repeat, 1)[0]) for repeat in (0, 1))
    if first == second:
        return None
    times = case.row.latency_us[first], case.row.latency_us[second]
    return max(times) / min(times)


def cost(cases: list[Case], top_k: int) -> dict[str, Any]:
    """The race against fixed repeats, on the same candidates and the same repeats."""

    def regret(case: Case, verdict: Verdict) -> float:
        contestants = [choice for choice in (None, *case.order[:top_k]) if choice in case.row.latency_us]
        return case.regret(verdict.winner, contestants)

    def summary(verdicts: list[Verdict]) -> Line:
        ratios = list(map(regret, cases, verdicts))
        kept = (1.0 if v.winner else ratio for v, ratio in zip(verdicts, ratios, strict=True))
        return {
            "repeats": round(statistics.mean(v.repeats for v in verdicts), 1),
            "regret %": round((geometric_mean(ratios) - 1) * 100, 3),
            "of that, by keeping the library": round((geometric_mean(kept) - 1) * 100, 3),
            "slower than the library %": slower_than_library(cases, verdicts),
        }

    everything = (top_k + 1) * FIXED_REPEATS
    fixed = [c.timer.run(STRATEGIES["the model's first, fixed repeats"](c, top_k, everything)) for c in cases]
    raced = [c.timer.run(Race(c.order[:top_k], RaceOptions(seed=c.seed))) for c in cases]
    lines = [{"timing": f"{FIXED_REPEATS} repeats of each", **summary(fixed)}, {"timing": "race", **summary(raced)}]
    share = lines[1]["repeats"] / lines[0]["repeats"]
    worse = (lines[1]["regret %"] - lines[0]["regret %"]) / 100
    return {
        "cost": lines,
        "share of the repeats": round(share, 3),
        "decided by": {by: sum(v.decided_by == by for v in raced) for by in ("confidence", "margin", "budget")},
        "within the limits": share <= COST_LIMIT and worse <= EQUAL_REGRET,
    }


def full_report(cases: list[Case], recording: Recording, top_k: int) -> dict[str, list[Line]]:
    report = {
        "regret by budget of repeats": by_budget(cases, top_k),
        "without timing": without_timing(cases, recording),
        f"the race of the model's first {top_k}, by group": by_group(cases, recording, top_k),
        "rankers, judged by the recorded medians": rankers(cases, recording),
    }
    if len(recording.sm_counts) > 1:
        report["regret % of a winner at another SM count"] = carried_over(recording)
    return report


def print_table(console: Console, title: str, lines: list[Line]) -> None:
    table = Table(title=title, title_justify="left")
    for name in lines[0]:
        table.add_column(name, justify="left" if isinstance(lines[0][name], str) else "right")
    for line in lines:
        table.add_row(*("" if value is None else str(value) for value in line.values()))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", help="catalogue name of what the file was measured on; a sweep names it itself")
    parser.add_argument("--problems", type=int, help="rows to take, drawn at random; 300 by default, all for --cost")
    parser.add_argument("--top-k", type=int, default=8, help="candidates of the model that are raced")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--check", action="store_true", help="with --cost: exit 1 where a limit is passed")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    recording = read_recording(given.file, given.device)
    limit = given.problems if given.problems or given.cost else 300
    cases = cases_of(recording, limit, given.seed)
    if not cases:
        parser.error(f"{given.file} has no row with a timed config")
    report: dict[str, Any] = {
        "file": recording.name + (" (its end is missing)" if recording.torn else ""),
        "device": recording.device,
        "sm_counts": recording.sm_counts,
        "rows": f"{len(cases)} of {len(recording.rows)}",
        "repeats": Noise.of(recording).source,
    }
    report |= cost(cases, given.top_k) if given.cost else full_report(cases, recording, given.top_k)
    if given.json:
        print(json.dumps(report, indent=1))
    else:
        console = Console(width=160, highlight=False)
        for name, value in report.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                print_table(console, name, value)
            else:
                console.print(f"{name}: {value}", markup=False)
    return 1 if given.check and not report.get("within the limits", True) else 0


if __name__ == "__main__":
    sys.exit(main())
