"""From the timings that Inductor took, and what it made of them, to records. Values in, values out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .._core import DeviceSpec, GemmConfig, GemmProblem
from ..records import Fingerprint, Record, Versions


@dataclass(frozen=True)
class Offer:
    """One candidate that Inductor was given: a config of one of its templates, or one of ATen's kernels."""

    problem: GemmProblem
    config: GemmConfig | None  # None: ATen
    kernel: str  # "inductor::mm@0123456789ab", "aten::addmm"


@dataclass
class Race:
    """One product of one graph whose candidates Inductor timed: times in milliseconds, as Inductor has them."""

    problem: GemmProblem
    followed_by: tuple[str, ...]
    padded_from: tuple[int, int, int] | None = None
    times_ms: dict[Offer, float] = field(default_factory=dict)
    chosen: Offer | None = None
    fused: bool | None = None

    def choose(self, offer: Offer, fused: bool | None) -> None:
        """What Inductor now writes into the graph; the last word counts."""
        self.chosen, self.fused = offer, fused


def records_of(race: Race, device: DeviceSpec, versions: Versions) -> list[Record]:
    """A trial for each time, and the winner: what Inductor finally chose, with the time of the product alone.

    Nothing where no choice was made or its time is unknown: then nothing was measured.
    """
    if race.chosen is None or not _is_time(race.times_ms.get(race.chosen, math.nan)):
        return []

    def record(offer: Offer, time_ms: float, **more: object) -> Record:
        taken = _is_time(time_ms)
        return Record(
            device=Fingerprint.of(device),
            problem=race.problem,
            choice=offer.config,
            kernel=offer.kernel,
            latency_us=time_ms * 1e3 if taken else None,
            basis="measured",
            reason="" if taken else "Inductor could not run it",
            versions=versions,
            **more,  # type: ignore[arg-type]
        )

    trials = [record(offer, time_ms, kind="trial") for offer, time_ms in race.times_ms.items()]
    winner = record(
        race.chosen,
        race.times_ms[race.chosen],
        kind="winner",
        fused=race.fused,
        followed_by=race.followed_by,
        padded_from=race.padded_from,
    )
    return [*trials, winner]


def _is_time(time_ms: float) -> bool:
    return math.isfinite(time_ms) and time_ms > 0
