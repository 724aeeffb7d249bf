"""One row of a recording made ready for replay: the model's order of its configs, and a timer that answers for it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

import gemm_tuner as gt
from gemm_tuner._core import LibraryAlgorithm
from model_quality import geometric_mean
from recorded_timer import Noise, RecordedTimer
from sweep_file import Choice, Recording, Row


@dataclass(frozen=True)
class Case:
    """A row with the model's order of its configs, a timer that answers for it, and the waves of its best config."""

    row: Row
    order: list[gt.GemmConfig]
    timer: RecordedTimer
    waves: float
    seed: int

    def regret(self, choice: Choice | LibraryAlgorithm, among: Iterable[Choice] | None = None) -> float:
        """Ratio to the best, at least 1; `among` restricts what the best is taken of."""
        assert not isinstance(choice, LibraryAlgorithm)  # no sweep times any
        return self.row.latency_us[choice] / self.row.best_us(among)


def cases_of(recording: Recording, limit: int | None, seed: int) -> list[Case]:
    rows = [row for row in recording.rows if row.configs]
    if limit is not None and limit < len(rows):
        rows = random.Random(seed).sample(rows, limit)
    noise = Noise.of(recording)
    specs = {sms: recording.spec(sms) for sms in recording.sm_counts}
    cases = []
    for i, row in enumerate(rows):
        spec = specs[row.sms]
        ranked = [each.config for each in gt.rank(row.problem, spec, top_k=len(row.configs), configs=row.configs)]
        known = set(ranked)
        best = min(row.configs, key=row.latency_us.__getitem__)
        waves = gt.predict(row.problem, best, spec).waves if best in known else float("nan")
        order = ranked + [config for config in row.configs if config not in known]
        cases.append(Case(row, order, RecordedTimer(row, noise, (seed, i)), waves, seed + i))
    return cases


def percent(ratios: Iterable[float]) -> float:
    """Geometric mean of ratios to the best, as a percentage above it."""
    return round((geometric_mean(ratios) - 1) * 100, 2)
