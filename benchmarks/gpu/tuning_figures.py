"""What races, a sweep and stock's tuning came to, in plain values. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gemm_tuner as gt
from gemm_tuner.measuring import Measured
from model_quality import geometric_mean
from sweep_file import Row
from timer_overhead import SPAN_US

WARM_UP_LAUNCHES = 5  # of each candidate: the check, the warm-up, and finding how many span enough time

Line = dict[str, Any]


def line_of(problem: gt.GemmProblem, measured: Measured) -> Line:
    """What one race came to."""
    line: Line = {
        "m": problem.m,
        "n": problem.n,
        "k": problem.k,
        "given_up": measured.given_up,
        "failed": len(measured.failed),
    }
    if measured.verdict is None:
        return line
    winner, timed = measured.verdict.winner, [each for each in measured.verdict.standings if each.repeats]
    return {
        **line,
        "winner": None if winner is None else winner.to_dict(),
        "latency_us": measured.verdict.latency_us,
        "library_us": measured.verdict.library_us,
        "decided_by": measured.verdict.decided_by,
        "tried": sum(each.choice is not None for each in measured.verdict.standings),
        "repeats": measured.verdict.repeats,
        "launches": sum(_launches(each.repeats, each.latency_us or math.inf) for each in timed),
    }


def _launches(repeats: int, latency_us: float) -> int:
    return (repeats + 1) * max(1, math.ceil(SPAN_US / latency_us)) + WARM_UP_LAUNCHES


def judged(measured: Measured, row: Row) -> Line:
    """The winner by the sweep's medians; nothing where the sweep has no time for it."""
    winner = measured.verdict.winner if measured.verdict is not None and measured.given_up is None else None
    if winner not in row.latency_us:
        return {}
    took_us, library_us = row.latency_us[winner], row.latency_us.get(None)
    return {
        "regret": round(took_us / row.best_us(), 4),
        "over_library": None if library_us is None else round(took_us / library_us, 4),
        "swept": len(row.configs),
    }


def summary(part: Line) -> Line:
    """Of one SM count: means over its problems, and beside stock's where that was counted."""
    lines, stock = part["tuned"], part.get("stock", [])
    timed = [each for each in lines if "repeats" in each]
    known = [each for each in lines if each.get("over_library") is not None]
    found: Line = {
        "problems": len(lines),
        "regret %": _percent([each["regret"] for each in known]),
        "worst over library %": round(100 * (max((each["over_library"] for each in known), default=1) - 1), 2),
        "geomean over library %": _percent([each["over_library"] for each in known]),
        "most tried": max((each["tried"] for each in timed), default=0),
        "seconds a problem": round(part["seconds"] / max(len(lines), 1), 2),
        **{name: _mean(timed, name) for name in ("tried", "repeats", "launches")},
    }
    if stock:
        found |= {f"stock {name}": _mean(stock, name) for name in ("candidates", "launches", "seconds")}
        found["launches / stock's"] = _ratio(found["launches"], found["stock launches"])
        found["seconds / stock's"] = _ratio(found["seconds a problem"], found["stock seconds"])
    return found


def _percent(ratios: Sequence[float]) -> float | None:
    return round(100 * (geometric_mean(ratios) - 1), 2) if ratios else None


def _mean(lines: Sequence[Line], name: str) -> float | None:
    return round(sum(each[name] for each in lines) / len(lines), 2) if lines else None


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return round(ours / theirs, 3) if ours is not None and theirs else None
