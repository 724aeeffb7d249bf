"""Which record speaks for this problem on this device: the exact one, else a near one, else none."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from .._core import DeviceSpec, GemmProblem, LibraryAlgorithm, why_illegal
from .record import Fingerprint, Record

MAX_DISTANCE = 1.0  # log2: a factor of two along one axis. Beyond it the number of waves is another one altogether

KernelState = Literal["current", "stale", "unknown"]


def kernel_state(kernel: str, known: Collection[str]) -> KernelState:
    """Is the kernel that a record names still the one we have?

    `known` are the ids with their source hashes ("gemm_tuner::tiled@1a2b…", "inductor::mm@3c4d…"). ATen is always
    current: it carries no hash. So is a known kernel that a prediction names without one; and where only such a name is
    known, another's hash cannot be judged. Nor can a kernel of a name that is not known at all.
    """
    if kernel.startswith("aten::") or kernel in known:
        return "current"
    name, at, _ = kernel.partition("@")
    if not any(each.startswith(f"{name}@") for each in known):
        return "unknown"
    return "stale" if at else "current"


@dataclass(frozen=True)
class Match:
    """What a look-up found. `distance` is 0 for the exact problem, else the log2 distance of the shapes."""

    record: Record
    exact: bool
    distance: float
    why: str


def shape_distance(one: GemmProblem, other: GemmProblem) -> float:
    """How many doublings lie between two shapes, over m, n, k and batch together (Euclidean)."""
    return math.dist(*([math.log2(size) for size in (p.m, p.n, p.k, p.batch)] for p in (one, other)))


class Index:
    """The winners of some records, ready to be looked up. `kernels` are the ids that are current (`kernel_state`)."""

    def __init__(self, records: Iterable[Record], *, kernels: Collection[str]) -> None:
        # by what the product is followed by; None holds the best of them all
        self._exact: dict[tuple[Fingerprint, GemmProblem, tuple[str, ...] | None], Record] = {}
        self._near: dict[tuple[object, ...], dict[GemmProblem, Record]] = {}
        self._padded: set[tuple[object, ...]] = set()
        for record in records:
            if record.kind != "winner" or kernel_state(record.kernel, kernels) != "current":
                continue
            for followed_by in (record.followed_by, None):
                key = (record.device, record.problem, followed_by)
                self._exact[key] = best = better(self._exact.get(key), record)
            self._near.setdefault(_kinship(record.device, record.problem), {})[record.problem] = best
            if record.padded_from is not None:
                m, n, k = record.padded_from
                self._padded.add(_before_padding(record.device, record.problem.replace(m=m, n=n, k=k)))

    def exact(self, problem: GemmProblem, device: DeviceSpec, *, followed_by: tuple[str, ...] = ()) -> Record | None:
        """The winner of this very problem on this very device: of several, one learned where the same ops followed,
        unless that is a prediction and another was measured."""
        here = Fingerprint.of(device)
        any_context = self._exact.get((here, problem, None))
        same_context = self._exact.get((here, problem, followed_by), any_context)
        # "predicted" > "measured"
        is_worse = same_context is not None and any_context is not None and same_context.basis > any_context.basis
        return any_context if is_worse else same_context

    def problems(self, device: DeviceSpec) -> list[GemmProblem]:
        """Those that have a winner on this very device."""
        here = Fingerprint.of(device)
        return [problem for known, problem, followed_by in self._exact if known == here and followed_by is None]

    def padded(self, problem: GemmProblem, device: DeviceSpec) -> bool:
        """Has Inductor found padding worth while for these sizes on this device? Not where they have a winner."""
        return _before_padding(Fingerprint.of(device), problem) in self._padded and self.exact(problem, device) is None

    def look_up(
        self,
        problem: GemmProblem,
        device: DeviceSpec,
        *,
        followed_by: tuple[str, ...] = (),
        max_distance: float = MAX_DISTANCE,
    ) -> Match | None:
        """The best record for the problem: exact, else the nearest whose config is legal for it here, else None.

        An algorithm of the library's was found for one problem, and says nothing of a near one.
        """
        found = self.exact(problem, device, followed_by=followed_by)
        if found is not None:
            return Match(found, True, 0.0, f"{found.basis} for this problem on this device")
        kin = self._near.get(_kinship(Fingerprint.of(device), problem), {}).values()
        near = ((shape_distance(problem, record.problem), record) for record in kin)
        reachable = [(distance, record) for distance, record in near if distance <= max_distance]
        # stable: of two equally near ones, measured before predicted ("m" < "p"), then the first learned
        for distance, record in sorted(reachable, key=lambda pair: (pair[0], pair[1].basis)):
            if isinstance(record.choice, LibraryAlgorithm):
                continue
            if record.choice is None or why_illegal(problem, record.choice, device) is None:
                why = f"{record.basis} for {record.problem}, {distance:.2f} doublings away"
                return Match(record, False, distance, why)
        return None


def better(one: Record | None, other: Record) -> Record:
    """Measured beats predicted; then the newer; of the same second, the one that comes later in the file."""
    if one is None:
        return other
    return max(one, other, key=lambda record: (record.basis == "measured", record.when, record is other))


def _kinship(device: Fingerprint, problem: GemmProblem) -> tuple[object, ...]:
    """What near problems share. Alignment too: it sets how wide loads are, so another one is another kernel."""
    p = problem
    return (device, p.op, p.a_dtype, p.b_dtype, p.out_dtype, p.layout, p.precision, p.scaling, p.alignment)


def _before_padding(device: Fingerprint, problem: GemmProblem) -> tuple[object, ...]:
    """What padding leaves as it was, and the sizes that it changes. Op and layout follow from how it is lowered."""
    p = problem
    return (device, p.batch, p.m, p.n, p.k, p.a_dtype, p.b_dtype, p.precision)
