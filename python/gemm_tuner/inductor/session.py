"""One `enable()`: what the user asked for, what is known, and what has happened. Nothing here knows torch."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .._core import DeviceSpec, GemmProblem
from ..devices import device as find_device
from ..errors import GemmTunerError, RecordsError
from ..records import Fingerprint, Index, Record, RecordsSource, append, read, read_all
from ..settings import DEFAULT_TOP_K, POLICIES, Policy, settings
from ..tuning import current_kernels
from ..versions import installed_version
from . import plan as planning
from .plan import Plan

log = logging.getLogger("gemm_tuner")

LEARNED = "learned.jsonl"  # in the cache folder: what compiling has measured
NO_OP = "of a family that Inductor has no template for"  # why a record is not followed where only templates count
ALONE = "of a family that nothing is fused into"
_KEY_DIGITS = 16


@dataclass(frozen=True)
class Options:
    """What `enable` was given, checked. records: those that the user supplied, read once, here.

    device: what is compiled for, where that is not the GPU at hand. sm_budget: SMs that a kernel may use.
    """

    policy: Policy = "measure"
    top_k: int = DEFAULT_TOP_K
    records: tuple[Record, ...] = ()
    device: DeviceSpec | None = None
    sm_budget: int | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {self.policy!r}")
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or self.top_k < 1:
            raise ValueError(f"top_k must be a whole number from 1 on, got {self.top_k!r}")
        if self.sm_budget is not None and self.sm_budget < 1:
            raise ValueError(f"sm_budget must be at least 1, got {self.sm_budget}")


def options(
    records: RecordsSource | Iterable[RecordsSource] | None = None,
    policy: Policy = "measure",
    top_k: int = DEFAULT_TOP_K,
    device: str | DeviceSpec | None = None,
    sm_budget: int | None = None,
) -> Options:
    """Reads and checks; raises RecordsError, UnknownDeviceError and ValueError, before anything is switched on."""
    known = read_all(records)
    spec = find_device(device) if isinstance(device, str) else device
    return Options(policy, top_k, tuple(known), spec, sm_budget)


@dataclass(frozen=True)
class Target:
    """The device that a compile is for. is_here: what runs now on the GPU at hand is a measurement of it."""

    device: DeviceSpec
    is_here: bool


def target(given: Options, here: DeviceSpec | None) -> Target:
    """What the options make of the GPU at hand, which may be missing where another device was named.

    An SM budget below what kernels can really use is a plan for another day: what is timed now uses more SMs.
    """
    wanted = given.device or here
    if wanted is None:
        raise ValueError("there is no GPU at hand and no device was named")
    if given.sm_budget is not None:
        wanted = wanted.with_available_sms(given.sm_budget)
    return Target(wanted, here is not None and Fingerprint.of(wanted) == Fingerprint.of(here))


@dataclass(frozen=True)
class Decision:
    """What became of one product of one graph.

    is_hint: a size was only a hint. nearest: for a miss, the closest problem that there is a record of.
    """

    problem: GemmProblem
    plan: Plan
    is_hint: bool = False
    nearest: GemmProblem | None = None

    @property
    def is_hit(self) -> bool:
        """True where a record answered."""
        return self.plan.record is not None

    def __str__(self) -> str:
        size = " (dynamic: sizes are hints)" if self.is_hint else ""
        near = f"; nearest record: {planning.difference(self.problem, self.nearest)}" if self.nearest else ""
        choice = ", ".join([*map(str, self.plan.configs), *(["ATen"] if self.plan.library else [])])
        return f"{self.problem}{size}: {choice}; {self.plan.why}{near}"


@dataclass
class Report:
    """What was asked and answered while a session was on; `learned` are the records that compiling added."""

    decisions: list[Decision] = field(default_factory=list)
    learned: list[Record] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # products that stock Inductor kept, and why

    @property
    def hits(self) -> list[Decision]:
        """Decisions that a record made."""
        return [each for each in self.decisions if each.is_hit]

    @property
    def misses(self) -> list[Decision]:
        """Decisions without a record."""
        return [each for each in self.decisions if not each.is_hit]

    def __str__(self) -> str:
        return f"{len(self.hits)} hits, {len(self.misses)} misses, {len(self.learned)} records learned"


class Session:
    """Options, the records that answer, and the report. Shared by every compile that it covers, in any thread."""

    def __init__(self, given: Options) -> None:
        self.options = given
        self.report = Report()
        self._lock = threading.RLock()
        self._given = sorted(record.to_json() for record in given.records)
        self._learned: list[Record] | None = None
        self._indices: dict[tuple[frozenset[str], str | None], Index] = {}
        self._padded: dict[GemmProblem, tuple[int, int, int]] = {}
        self._said: set[str] = set()

    def key(self, aim: Target) -> str:
        """What shapes a compiled graph, as text: for the keys of the caches of compiled graphs.

        Records learned by compiling are left out: they must not invalidate the graphs that they come from.
        """
        parts = {
            "version": installed_version("gemm_tuner"),
            "policy": self.options.policy,
            "top_k": self.options.top_k,
            "device": aim.device.to_dict(),
            "here": aim.is_here,
            "records": self._given,
            "kernels": sorted(current_kernels()),
        }
        text = json.dumps(parts, sort_keys=True, default=lambda value: value.to_dict())
        return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]

    def decide(
        self,
        problem: GemmProblem,
        aim: Target,
        *,
        computed: GemmProblem,
        widest_alignment: int = 1,
        kernels: frozenset[str],
        followed_by: tuple[str, ...] = (),
        is_fusable: bool = False,
        is_hint: bool = False,
        why_not_own: str | None = NO_OP,
    ) -> Plan:
        """The plan for one product, noted in the report.

        computed: the problem as Inductor's template computes it, which may use IEEE float32 where ATen uses TF32.
        widest_alignment: of either operand, which decides what a kernel of Inductor's needs.
        kernels: the ids of Inductor's templates as installed. followed_by: the operators that use the product;
        is_fusable: a template could have one of them in its kernel. why_not_own: why this package's own kernels are not
        offered, None where they are.
        """
        index = self._index(kernels, why_not_own)
        own = None if why_not_own else planning.own_of(problem, aim.device, is_fusable=is_fusable)
        record = index.exact(problem, aim.device, followed_by=followed_by)
        if record is not None and own is not None and record.followed_by != followed_by:
            record = self._weighed(record, own, self._index(kernels, ALONE).exact(problem, aim.device))
        close = None
        wide = computed.replace(alignment=max(computed.alignment, widest_alignment))
        if record is not None:
            plan = planning.from_record(record, wide, aim.device)
        else:
            close = planning.nearest(problem, index.problems(aim.device))
            match = index.look_up(problem, aim.device)
            policy = self.options.policy
            if policy == "measure" and not aim.is_here:
                self.say(f"nothing can be measured for {Fingerprint.of(aim.device)} here: the policy is now predict")
                policy = "predict"
            plan = planning.without_record(
                computed,
                wide,
                aim.device,
                policy,
                self.options.top_k,
                evidence=planning.no_tensor_cores,
                near=match.record if match else None,
                own=own,
            )
        decision = Decision(problem, plan, is_hint, close)
        with self._lock:
            self.report.decisions.append(decision)
        log.info("%s", decision)
        return plan

    def _weighed(self, record: Record, own: planning.Own, alone: Record | None) -> Record:
        """The record, or the one that speaks where only templates count. Both timed the product alone."""
        followed = planning.weighed(record, alone, own)
        if followed is not record:
            self.say(f"{record.problem}: {record.choice} is the fastest alone, but nothing would be fused into it")
        return followed

    def decide_padding(
        self, problem: GemmProblem, padded: GemmProblem, aim: Target, kernels: frozenset[str]
    ) -> bool | None:
        """Is the problem to be padded? None where that must be measured, and may be."""
        index = self._index(kernels, NO_OP)
        # a product that stands alone now may be fused with its bias, or with another product, before it is lowered
        alike = ("mm", "addmm", "mm_plus_mm") if problem.op in ("mm", "addmm") else ("bmm", "baddbmm")
        if any(index.exact(problem.replace(op=op), aim.device) is not None for op in alike):
            return False
        if index.padded(problem, aim.device):
            self.note_padded(problem, padded)
            return True
        if self.options.policy == "measure" and aim.is_here:
            return None
        pays = planning.padding_pays(problem, padded, aim.device)
        if pays:
            self.note_padded(problem, padded)
        return pays

    def note_padded(self, problem: GemmProblem, padded: GemmProblem) -> None:
        """Remembers where a padded problem comes from, for the record that may follow."""
        with self._lock:
            self._padded[_shape_of(padded)] = (problem.m, problem.n, problem.k)

    def padded_from(self, problem: GemmProblem) -> tuple[int, int, int] | None:
        """The sizes that were padded to this problem's, if they were."""
        with self._lock:
            return self._padded.get(_shape_of(problem))

    def learn(self, records: Sequence[Record]) -> None:
        """Keeps what a compile measured: in this process, and in the file that later ones start from."""
        path = settings().cache_dir / LEARNED
        with self._lock:
            self.report.learned.extend(records)
            self._learned = [*self._known(), *records]
            self._indices.clear()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            append(path, records)
        except (OSError, GemmTunerError) as error:
            log.warning("what compiling measured is not kept: %s", error)

    def say(self, sentence: str) -> None:
        """Logs it, once."""
        with self._lock:
            if sentence in self._said:
                return
            self._said.add(sentence)
        log.info("%s", sentence)

    def leave(self, why: str) -> None:
        """Notes a product that stays as stock Inductor has it."""
        with self._lock:
            self.report.left.append(why)
        self.say(why)

    def _index(self, kernels: frozenset[str], why_not_own: str | None) -> Index:
        key = (kernels, why_not_own)
        with self._lock:
            if key not in self._indices:
                winners = planning.served_winners([*self.options.records, *self._known()], why_not_own)
                self._indices[key] = Index(winners, kernels=current_kernels() | kernels)
            return self._indices[key]

    def _known(self) -> list[Record]:
        if self._learned is None:
            path = settings().cache_dir / LEARNED
            try:
                self._learned = list(read(path).records) if path.exists() else []
            except RecordsError as error:
                log.warning("what earlier compiles measured cannot be used: %s", error)
                self._learned = []
        return self._learned


def _shape_of(problem: GemmProblem) -> GemmProblem:
    """What two problems share that differ only in what padding changes besides the sizes: op, layout, alignment."""
    return GemmProblem(
        m=problem.m,
        n=problem.n,
        k=problem.k,
        op="mm" if problem.batch == 1 else "bmm",
        batch=problem.batch,
        a_dtype=problem.a_dtype,
        b_dtype=problem.b_dtype,
        out_dtype=problem.out_dtype,
    )
