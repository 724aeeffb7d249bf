"""Rankers judged by recorded medians: how soon an order of the configs finds a good one, and what carries over from one
SM count to another. Nothing is timed here, so nothing is noisy.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import gemm_tuner as gt
from model_quality import geometric_mean
from replay_case import Case, percent
from sweep_file import Recording, Row

NEAR = 0.98
TOP_K = (1, 2, 4, 8)

Line = dict[str, Any]
Order = Sequence[gt.GemmConfig]


def trials_to_near(order: Order, row: Row) -> int:
    """Configs to try in that order until one reaches 98 % of the best config."""
    enough_us = min(row.latency_us[config] for config in row.configs) / NEAR
    return next(i for i, config in enumerate(order, 1) if row.latency_us[config] <= enough_us)


def fixed_list(rows: Sequence[Row]) -> dict[gt.GemmConfig, float]:
    """Each config's mean place among those timed, from 0 to 1, over the rows learned from."""
    places: dict[gt.GemmConfig, list[float]] = {}
    for row in rows:
        for place, config in enumerate(sorted(row.configs, key=row.latency_us.__getitem__)):
            places.setdefault(config, []).append(place / len(row.configs))
    return {config: statistics.mean(found) for config, found in places.items()}


def learned_orders(cases: list[Case], recording: Recording) -> tuple[str, dict[int, list[gt.GemmConfig]]]:
    """One list for all problems, learned where the case is not judged; by the case's seed, of the cases judged."""
    counts = recording.sm_counts
    if len(counts) > 1:
        name = "fixed list, learned at the other SM counts"
        scores = {sms: fixed_list([row for row in recording.rows if row.sms != sms]) for sms in counts}
        judged = {case.seed: (case, scores[case.row.sms]) for case in cases}
    else:
        name = "fixed list, learned on the other half of the problems"
        halves = {half: fixed_list([row for row in recording.rows if row.half != half]) for half in "ab"}
        judged = {case.seed: (case, halves[case.row.half]) for case in cases}
    orders = {
        seed: sorted(case.row.configs, key=lambda config: score.get(config, 1.0))
        for seed, (case, score) in judged.items()
    }
    return name, orders


def rankers(cases: list[Case], recording: Recording) -> list[Line]:
    """Orders of the configs, without the library: trials to 98 % of the best, best / best of the first k."""
    learned_name, learned = learned_orders(cases, recording)
    orders: dict[str, Callable[[Case], Order]] = {
        "the model": lambda case: case.order,
        learned_name: lambda case: learned[case.seed],
        "random": lambda case: random.Random(case.seed).sample(case.row.configs, len(case.row.configs)),
    }
    lines = []
    for name, order_of in orders.items():
        chosen = [(order_of(case), case.row) for case in cases]
        trials = sorted(trials_to_near(order, row) for order, row in chosen)
        line: Line = {
            "ranker": name,
            "trials to 98 %, median": statistics.median(trials),
            "90th percentile": trials[int(len(trials) * 0.9)],
        }
        for k in TOP_K:
            line[f"top-{k}"] = round(
                geometric_mean(row.best_us(row.configs) / row.best_us(order[:k]) for order, row in chosen), 3
            )
        lines.append(line)
    return lines


def carried_over(recording: Recording) -> list[Line]:
    """Regret % over the best config, of the config that is quickest at one SM count when it is used at another."""
    rows = {(row.problem, row.sms): row for row in recording.rows if row.configs}
    lines = []
    for learned in recording.sm_counts:
        line: Line = {"winner at": f"{learned} SMs"}
        for used in recording.sm_counts:
            ratios = []
            for (problem, sms), row in rows.items():
                there = rows.get((problem, used))
                if sms != learned or there is None:
                    continue
                best = min(row.configs, key=row.latency_us.__getitem__)
                if best in there.latency_us:  # else it was refused there
                    ratios.append(there.latency_us[best] / there.best_us(there.configs))
            line[f"used at {used}"] = percent(ratios) if ratios else None
        lines.append(line)
    return lines
