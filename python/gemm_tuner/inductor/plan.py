"""What Inductor is offered for one problem, and why. Values in, values out; nothing here knows torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache

from .._core import (
    DeviceSpec,
    GemmConfig,
    GemmProblem,
    LibraryAlgorithm,
    Prediction,
    predict_library,
    rank,
    space,
    tensor_core_rate,
    why_illegal,
)
from ..compile import Failed, compile_candidates, why_dropped
from ..errors import GemmTunerError
from ..records import Fingerprint, Record, aten_kernel, shape_distance
from ..settings import Policy
from ..settling import MARGIN
from ..sources import ELEMENT_BYTES

TEMPLATE_FAMILY = "tiled"  # what Inductor's own templates are; the other families run through an op of ours
_LIBRARY_WON = "an algorithm of cuBLASLt's won, which Inductor has no template for"
_PROBE = GemmConfig(block_m=64, block_n=64, block_k=64, num_warps=4, num_stages=2)
_PROBE_SIZE = 128  # of a product that every architecture's tensor cores take
_DRAM_PASSES = 2  # padding reads an operand and writes it again; so does an epilogue in a kernel of its own


@dataclass(frozen=True)
class Plan:
    """The candidates of one problem: Triton configs, best first, and ATen beside them where `library`.

    One candidate is a choice, which nobody benchmarks. record: what settled it, where a record did.
    """

    configs: tuple[GemmConfig, ...]
    library: bool
    why: str
    record: Record | None = None

    @property
    def is_settled(self) -> bool:
        """True where there is nothing left to measure."""
        return len(self.configs) + self.library == 1

    @property
    def keeps_unfused(self) -> bool:
        """True where it was measured that what follows the product runs faster in a kernel of its own."""
        return self.record is not None and self.record.choice is not None and self.record.fused is False


def only_library(why: str) -> Plan:
    """ATen and nothing else."""
    return Plan((), True, why)


def from_record(record: Record, wide: GemmProblem, device: DeviceSpec) -> Plan:
    """The record's choice and nothing else; ATen where the choice does not fit the kernel that Inductor would make.

    wide: the problem with the alignment of the operand that has more of it: wider loads may need more shared memory.
    """
    why = f"{record.basis} record of {record.time}"
    if isinstance(record.choice, LibraryAlgorithm):
        return replace(only_library(f"{why}: {_LIBRARY_WON}"), record=record)
    made = record.problem if is_own(record.choice) else wide
    illegal = None if record.choice is None else why_illegal(made, record.choice, device)
    if illegal is not None:
        return replace(only_library(f"{why}, which Inductor cannot follow: {illegal}"), record=record)
    if record.choice is None:
        return replace(only_library(f"{why}{': ' + record.reason if record.reason else ''}"), record=record)
    return Plan((record.choice,), False, why, record)


def without_record(
    problem: GemmProblem,
    wide: GemmProblem,
    device: DeviceSpec,
    policy: Policy,
    top_k: int,
    *,
    evidence: Callable[[GemmProblem, DeviceSpec], str | None],
    near: Record | None = None,
    own: Own | None = None,
) -> Plan:
    """What to do about a problem that no record settles.

    problem: as Inductor's template computes it. wide: see `from_record`. evidence: why Triton must not be used for it
    on the device, or None.
    near: the record of a near shape, whose config then races too. own: of the kernels of this package, where Inductor
    may be offered them: the best of them takes part if it is predicted to beat the best template by the margin.
    """
    if policy == "lookup":
        return only_library("no record, and the policy is lookup")
    served = [
        config
        for config in space(problem, device)
        if config.family == TEMPLATE_FAMILY and why_illegal(wide, config, device) is None
    ]
    predictions = _different_tiles(rank(problem, device, top_k=len(served), configs=served), top_k) if served else []
    if not predictions:
        return only_library(f"no config is legal: {why_illegal(problem, GemmConfig(), device)}")
    refused = evidence(problem, device)
    if refused is not None:
        return only_library(refused)
    extra = None if own is None else _best_own(own, predictions[0], device)
    if policy == "predict":
        best = extra or predictions[0]
        gain = 1 - best.latency_us / predict_library(problem, device)
        if gain > MARGIN:
            return Plan((best.config,), False, f"no record; predicted to be {gain:.0%} faster than ATen")
        return only_library(f"no record; the predicted gain of {gain:.0%} is not above the margin of {MARGIN:.0%}")
    ranked = [each.config for each in predictions]
    first = [] if extra is None else [extra.config]
    if (
        near is not None
        and isinstance(near.choice, GemmConfig)
        and ((is_own(near.choice) and own) or near.choice in served)
    ):
        first.insert(0, near.choice)
    ranked = [*dict.fromkeys(each for each in first if each not in ranked), *ranked][:top_k]
    return Plan(tuple(ranked), True, f"no record; {len(ranked)} candidates and ATen are measured")


@dataclass(frozen=True)
class Own:
    """Of the kernels of this package beside Inductor's templates, for one product.

    problem: as they compute it. unfused_us: what it costs that Inductor fuses nothing into them.
    """

    problem: GemmProblem
    unfused_us: float


def own_of(problem: GemmProblem, device: DeviceSpec, *, is_fusable: bool) -> Own:
    """is_fusable: a template would have what follows the product in its own kernel, without a pass over the result."""
    result_bytes = problem.batch * problem.m * problem.n * ELEMENT_BYTES[problem.out_dtype]
    pass_us = _DRAM_PASSES * result_bytes / (device.bandwidth_gbs * 1e3)
    return Own(problem, pass_us if is_fusable else 0.0)


def _best_own(own: Own, template: Prediction, device: DeviceSpec) -> Prediction | None:
    legal = [config for config in space(own.problem, device) if is_own(config)]
    best = next(iter(rank(own.problem, device, top_k=1, configs=legal)), None) if legal else None
    wins = best is not None and best.latency_us + own.unfused_us < template.latency_us * (1 - MARGIN)
    return best if wins else None


def is_own(config: object) -> bool:
    """Is it a config for kernels of this package, which Inductor has no template for?"""
    return isinstance(config, GemmConfig) and config.family != TEMPLATE_FAMILY


def weighed(record: Record, other: Record | None, own: Own) -> Record:
    """Which of two records to follow: the one found, and the one that speaks where only templates count.

    Both timed the product alone. Where the first is of a kernel of this package, a template's wins if it gains more by
    fusing what follows.
    """
    if not is_own(record.choice) or other is None or other.choice is None or other.basis != record.basis:
        return record
    if other.latency_us is None or record.latency_us is None:
        return record
    return other if other.latency_us < record.latency_us + own.unfused_us else record


@cache
def why_unbuilt(problem: GemmProblem, config: GemmConfig, device: DeviceSpec) -> str | None:
    """Why the kernels of this package for that config cannot be used on the device; None where they can.

    Found out by compiling them, which is kept: the code that Inductor writes then finds them compiled.
    """
    try:
        found = compile_candidates(problem, [config], device, workers=1)[config]
    except (GemmTunerError, ValueError) as error:
        return str(error)
    return found.reason if isinstance(found, Failed) else why_dropped(found.resources, problem, device)


def no_tensor_cores(problem: GemmProblem, device: DeviceSpec) -> str | None:
    """Why the installed Triton cannot use the tensor cores that ATen uses for such a problem; None where it can.

    Found out by compiling one small product of the same types for the device's architecture. What the compiler said is
    kept with the compiled candidates, so that it is asked once per architecture, types and Triton version.
    """
    if tensor_core_rate(problem, device) == 0:
        return None
    like = GemmProblem(
        m=_PROBE_SIZE,
        n=_PROBE_SIZE,
        k=_PROBE_SIZE,
        op=problem.op if problem.op in ("int_mm", "scaled_mm") else "mm",
        a_dtype=problem.a_dtype,
        b_dtype=problem.b_dtype,
        out_dtype=problem.out_dtype,
        precision=problem.precision,
        scaling=problem.scaling,
        layout="nt",
    )
    return _probe(like, device)


@cache
def _probe(problem: GemmProblem, device: DeviceSpec) -> str | None:
    architecture = f"compute capability {device.compute_capability / 10:.1f}"
    try:
        found = compile_candidates(problem, [_PROBE], device, workers=1)[_PROBE]
    except GemmTunerError as error:
        return str(error)
    if isinstance(found, Failed):
        return f"Triton does not compile {problem.a_dtype} products for {architecture}: {found.reason}"
    return why_dropped(found.resources, problem, device)


def padding_pays(problem: GemmProblem, padded: GemmProblem, device: DeviceSpec) -> bool:
    """Is the padded problem, with the copies that padding takes, predicted to be faster for ATen beyond the margin?"""
    elements = padded.m * padded.k + padded.k * padded.n
    copied = problem.batch * elements * ELEMENT_BYTES[problem.a_dtype]
    copy_us = _DRAM_PASSES * copied / (device.bandwidth_gbs * 1e3)
    return predict_library(padded, device) + copy_us < predict_library(problem, device) * (1 - MARGIN)


def served_winners(records: Iterable[Record], why_not_own: str | None) -> list[Record]:
    """The winners that Inductor can be given, measured trials aside.

    Another winner (an algorithm of cuBLASLt's, split_k where it is not offered) gives way to the best trial that can
    be, where that beats ATen's by the margin, and to ATen otherwise: the records have the trials of both.
    why_not_own: why kernels of this package are not offered, in a few words; None where they are.
    """

    def is_served(record: Record) -> bool:
        return record.choice is None or (
            isinstance(record.choice, GemmConfig) and (why_not_own is None or not is_own(record.choice))
        )

    known = list(records)
    trials: dict[tuple[Fingerprint, GemmProblem], list[Record]] = {}
    for each in known:
        if each.kind == "trial" and each.latency_us is not None:
            trials.setdefault((each.device, each.problem), []).append(each)
    return [
        each
        if is_served(each)
        else _next_best(each, trials.get((each.device, each.problem), []), is_served, why_not_own)
        for each in known
        if each.kind == "winner"
    ]


def difference(problem: GemmProblem, other: GemmProblem) -> str:
    """The fields in which they differ: "n is 1000, not 1024"."""
    ours, theirs = problem.to_dict(), other.to_dict()
    return ", ".join(f"{name} is {ours[name]}, not {theirs[name]}" for name in ours if ours[name] != theirs[name])


def nearest(problem: GemmProblem, known: Iterable[GemmProblem]) -> GemmProblem | None:
    """Of `known`, the problem that differs in the fewest words (op, dtypes, layout…), then least in shape."""

    def strangeness(other: GemmProblem) -> tuple[int, float]:
        ours, theirs = problem.to_dict(), other.to_dict()
        words = [name for name in ours if name not in ("m", "n", "k", "batch")]
        return sum(ours[name] != theirs[name] for name in words), shape_distance(problem, other)

    return min(known, key=strangeness, default=None)


def _different_tiles(predictions: list[Prediction], top_k: int) -> list[Prediction]:
    """The best `top_k` that differ in more than group_m, which the model tells apart least: each costs a compile."""
    best: dict[GemmConfig, Prediction] = {}
    for each in predictions:
        best.setdefault(each.config.replace(group_m=1), each)
    return list(best.values())[:top_k]


def _next_best(
    winner: Record, trials: list[Record], is_served: Callable[[Record], bool], why_not_own: str | None
) -> Record:
    def latency_us(record: Record) -> float:
        return record.latency_us or float("inf")

    served = [each for each in trials if each.choice is not None and is_served(each)]
    library = [each for each in trials if each.choice is None]
    best = min(served, key=latency_us, default=None)
    if best is not None and (not library or latency_us(best) < min(map(latency_us, library)) * (1 - MARGIN)):
        return replace(best, kind="winner", time=winner.time)
    reason = _LIBRARY_WON
    if isinstance(winner.choice, GemmConfig):
        reason = f"{winner.choice.family} won, which is {why_not_own}"
    if library:
        return replace(library[0], kind="winner", reason=reason, time=winner.time)
    return replace(winner, choice=None, kernel=aten_kernel(winner.problem), reason=reason, resources=None, spread=None)
