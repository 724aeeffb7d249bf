"""A double of a GPU: answers a search strategy with repeats drawn from recorded timings.

What it says was measured once, elsewhere; how its repeats scatter is in part simulated, and `Noise.source` says where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gemm_tuner._core import Strategy, Verdict
from sweep_file import Choice, Recording, Row

ENOUGH_REPEATS = 3  # to draw from a choice's own
MEDIAN_SPREAD, P90_SPREAD = 0.010, 0.028  # stated for the public A100 table; taken as a repeat's standard deviation
NORMAL_P90 = 1.2816
REPEATS = 512  # drawn of each choice; who asks for more gets them again

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """How the repeats of a choice that has few of its own scatter: relative deviations to draw from, or the stated."""

    deviations: Floats
    source: str

    @staticmethod
    def of(recording: Recording) -> Noise:
        pooled = [
            us / row.latency_us[choice] - 1
            for row in recording.rows
            for choice, repeats in row.repeats_us.items()
            if len(repeats) >= ENOUGH_REPEATS
            for us in repeats
        ]
        if pooled:
            source = (
                f"repeats bootstrapped from the file's; for choices with under {ENOUGH_REPEATS}, from all deviations"
            )
        else:
            source = (
                f"repeats simulated, for the file has none: each choice's standard deviation is log-normal with median "
                f"{MEDIAN_SPREAD:.1%} and 90th percentile {P90_SPREAD:.1%}, as stated for the public A100 table"
            )
        return Noise(np.array(pooled), source)

    def repeats(self, recorded_us: Sequence[float], median_us: float, random: np.random.Generator) -> Floats:
        if len(recorded_us) >= ENOUGH_REPEATS:
            own: Floats = random.choice(np.array(recorded_us), REPEATS)
            return own
        if self.deviations.size:
            pooled: Floats = median_us * (1 + random.choice(self.deviations, REPEATS))
            return pooled
        deviation = MEDIAN_SPREAD * (P90_SPREAD / MEDIAN_SPREAD) ** (random.standard_normal() / NORMAL_P90)
        simulated: Floats = median_us * np.exp(deviation * random.standard_normal(REPEATS))
        return simulated


class RecordedTimer:
    """One row's choices. The same seed gives each of them the same repeats, whoever asks and in whatever order."""

    def __init__(self, row: Row, noise: Noise, seed: Sequence[int]) -> None:
        self._row, self._noise, self._seed = row, noise, seed
        self._place = {choice: i for i, choice in enumerate(row.repeats_us)}
        self._drawn: dict[Choice, list[float]] = {}

    def repeats_us(self, choice: Choice, start: int, count: int) -> list[float]:
        if choice not in self._drawn:
            random = np.random.default_rng([*self._seed, self._place[choice]])
            recorded = self._row.repeats_us[choice]
            self._drawn[choice] = self._noise.repeats(recorded, self._row.latency_us[choice], random).tolist()
        drawn = self._drawn[choice]
        return [drawn[i % REPEATS] for i in range(start, start + count)]

    def run(self, strategy: Strategy) -> Verdict:
        """The whole dialogue. A choice that the row has no time for fails."""
        told: dict[Choice, int] = {}
        while batch := strategy.ask():
            for choice, count in batch:
                if choice not in self._place:
                    strategy.fail(choice)
                    continue
                start = told.get(choice, 0)
                strategy.tell(choice, self.repeats_us(choice, start, count))
                told[choice] = start + count
        return strategy.verdict()
