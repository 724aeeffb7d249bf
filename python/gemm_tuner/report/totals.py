"""What the tuned problems add up to over one run of the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .._core import GemmConfig, LibraryAlgorithm
from ..settling import Outcome


@dataclass(frozen=True)
class Totals:
    """Times in microseconds, each problem counted as often as the model runs it.

    library_wins: of single algorithms of cuBLASLt's over what ATen calls.
    """

    problems: int
    runs: int
    triton_wins: int
    library_wins: int
    latency_us: float
    library_us: float


def totals_of(outcomes: Iterable[Outcome]) -> Totals:
    """The sums over all outcomes."""
    outcomes = list(outcomes)
    chosen_us = ((each.winner.latency_us or 0.0) * each.winner.count for each in outcomes)
    return Totals(
        problems=len(outcomes),
        runs=sum(each.winner.count for each in outcomes),
        triton_wins=sum(isinstance(each.winner.choice, GemmConfig) for each in outcomes),
        library_wins=sum(isinstance(each.winner.choice, LibraryAlgorithm) for each in outcomes),
        latency_us=sum(chosen_us),
        library_us=sum(each.library_us * each.winner.count for each in outcomes),
    )
