"""The whole job: problems in, one winner for each out, everything learned kept in a records file on the way."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ._core import (
    DeviceSpec,
    GemmConfig,
    GemmProblem,
    RaceOptions,
    family_variants,
    has_tensor_core_path,
    predict_library,
    rank,
    space,
    tensor_core_rate,
)
from .binary_cache import Binary
from .compile import Compiled, CompilePool, Failed, Kernel, compile_candidates, compile_checks, compile_problems
from .cublaslt import ALGORITHMS, is_library_kernel, library_kernel, may_race
from .devices import device as find_device
from .driver import current_ordinal, query
from .errors import NoDeviceError, TorchMissingError
from .measuring import Measured, measure
from .problems import CountedProblem
from .problems import merge as merge_problems
from .records import Basis, Fingerprint, Index, Record, Versions, append, open_for_append
from .settling import Outcome, recall, settle, settle_race
from .sources import FAMILIES, kernel_id, only_inductor_has_it
from .trials import Trials
from .versions import TRITON, installed_version

INDUCTORS = ("inductor::mm_plus_mm",)  # predicted without compiling, so of no certain source and without its hash
RACE = RaceOptions(max_variants=2)  # of two leaders: with the usual eight candidates, at most twelve are tried


@dataclass(frozen=True)
class Progress:
    """How far a run is; `latest` is the outcome that moved it, None at the start and while candidates compile.

    left_s: what the rest will take if its problems take as long as those of this run so far, and no longer than the
    budget; None where nothing is known of it.
    """

    done: int
    total: int
    latest: Outcome | None = None
    left_s: float | None = None


@dataclass(frozen=True)
class TuneResult:
    """The outcomes in the order of the problems given, and the problems that the budget did not reach.

    basis: of what this run has found out; each outcome's records name their own.
    """

    basis: Basis
    device: DeviceSpec
    versions: Versions
    outcomes: tuple[Outcome, ...]
    unfinished: tuple[CountedProblem, ...]
    records: Path | None
    seconds: float


def tune(
    problems: Iterable[CountedProblem | GemmProblem],
    device: str | DeviceSpec | None = None,
    *,
    measured: bool | None = None,
    kernel: Kernel | None = None,
    top_k: int = 8,
    budget_s: float | None = None,
    records: str | Path | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> TuneResult:
    """Chooses a config, or the library kernel, for each problem on the device.

    measured: the `top_k` best candidates of the model are raced on the GPU, in a process of its own, against the
    library kernel as torch calls it; with fewer SMs available to the device than the GPU has, in a partition of so
    many. Else every number is predicted, from the resources that the compiler reports for those candidates (estimated
    for mm_plus_mm, which only a template of Inductor computes), and the device need not be here. By default a GPU of
    this machine, `device` None, is measured.

    kernel: what the candidates are: "inductor" for the templates that torch.compile runs, by default where it is
    measured, or "gemm_tuner" for this package's own; measured, cuBLASLt's algorithms race beside the latter.

    Equal problems are tuned once. What the records file (made where there is none) already answers is taken from it;
    everything else is added to it problem by problem, so an interrupted run goes on where it was. The problems that
    take the most time go first; after `budget_s` seconds no further one is begun. `on_progress` is called at the start
    and after each problem. Raises RecordsError, UnknownDeviceError, NoDeviceError, TritonMissingError,
    TorchMissingError, GpuLostError, and ValueError for a top_k below 1.
    """
    started_s = time.monotonic()
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    spec = device if isinstance(device, DeviceSpec) else find_device(device)
    measured = device is None if measured is None else measured
    kernel = kernel or ("inductor" if measured else "gemm_tuner")
    wanted = merge_problems(each if isinstance(each, CountedProblem) else CountedProblem(each) for each in problems)
    outcomes = _already_known(wanted, spec, records, measured=measured)
    tell = on_progress or (lambda progress: None)
    tell(Progress(len(outcomes), len(wanted)))
    left = _slowest_first((each for each in wanted if each.problem not in outcomes), spec)
    if left and (budget_s is None or time.monotonic() - started_s < budget_s):
        settled = _measured if measured else _predicted
        job = _Job(spec, present_versions(spec), kernel, top_k, workers)
        with contextlib.closing(settled(left, job)) as settling:
            for trials, outcome in settling:
                if records is not None:
                    append(records, [*trials, *([outcome.winner] if outcome else [])])
                if outcome is None:  # what broke it is known, and now `settling` says so
                    continue
                outcomes[outcome.winner.problem] = outcome
                spent_s, undone = time.monotonic() - started_s, len(wanted) - len(outcomes)
                left_s = spent_s / (len(left) - undone) * undone
                rest_s = math.inf if budget_s is None else max(budget_s - spent_s, 0.0)
                tell(Progress(len(outcomes), len(wanted), outcome, min(left_s, rest_s)))
                if rest_s == 0:
                    break
    return TuneResult(
        basis="measured" if measured else "predicted",
        device=spec,
        versions=present_versions(spec),
        outcomes=tuple(outcomes[each.problem] for each in wanted if each.problem in outcomes),
        unfinished=tuple(each for each in wanted if each.problem not in outcomes),
        records=None if records is None else Path(records),
        seconds=time.monotonic() - started_s,
    )


Settled = Generator[tuple[list[Record], Outcome | None], None, None]


class _Job(NamedTuple):
    """What is the same for all problems of a run."""

    device: DeviceSpec
    versions: Versions
    kernel: Kernel
    top_k: int
    workers: int | None

    def candidates(self, problem: GemmProblem) -> list[GemmConfig]:
        """Those to compile, best predicted first."""
        device, top_k = self.device, self.top_k
        if tensor_core_rate(problem, device) > 0 and not has_tensor_core_path(problem, device):
            top_k = 1  # Triton will not use the tensor cores that the library does (sm_75): one compile is evidence
        return [each.config for each in rank(problem, device, top_k=top_k, configs=self.space(problem))]

    def space(self, problem: GemmProblem) -> list[GemmConfig]:
        """The configs that the kernels can have."""
        whole = space(problem, self.device)
        return whole if self.kernel == "gemm_tuner" else [each for each in whole if each.family == "tiled"]

    def variants(self, problem: GemmProblem, candidates: Iterable[GemmConfig]) -> list[GemmConfig]:
        """What the candidates' variants in a race's second stage are taken from, best predicted first."""
        configs = [each.config for each in rank(problem, self.device, configs=self.space(problem))]
        if self.kernel == "gemm_tuner":
            tiles = dict.fromkeys(each.replace(group_m=GemmConfig().group_m) for each in (*candidates, *configs))
            configs += [other for each in tiles for other in family_variants(problem, each, self.device)]
        return [each.config for each in rank(problem, self.device, top_k=max(1, len(configs)), configs=configs)]

    def compiles(self, problem: GemmProblem) -> bool:
        """Has it a kernel to compile? Otherwise the compiler's word is estimated."""
        return self.kernel == "inductor" or not only_inductor_has_it(problem)


def _predicted(left: Sequence[CountedProblem], job: _Job) -> Settled:
    counted = {each.problem: each for each in left}
    candidates = {problem: job.candidates(problem) for problem in counted}
    for problem in (each for each in counted if not job.compiles(each)):
        yield settle(counted[problem], dict.fromkeys(candidates.pop(problem)), job.device, job.versions)
    for problem, compiled in compile_problems(candidates, job.device, kernel=job.kernel, workers=job.workers):
        yield settle(counted[problem], compiled, job.device, job.versions)


def _measured(left: Sequence[CountedProblem], job: _Job) -> Settled:
    """One problem after the other is raced, while the compilers work on those that follow."""
    counted = {each.problem: each for each in left if job.compiles(each.problem)}
    candidates = {problem: job.candidates(problem) for problem in counted}
    with (
        trials_on(job.device) as trials,
        CompilePool(workers=job.workers) as pool,
        contextlib.closing(compile_problems(candidates, job.device, kernel=job.kernel, pool=pool)) as compiled,
    ):
        checks = dict(compile_checks(counted, job.device, pool=pool))
        for problem, results in compiled:
            found = _raced(problem, results, job, trials, checks[problem], pool)
            yield settle_race(counted[problem], found, job.device, job.versions)
            if found.lost is not None:
                raise found.lost
    yield from _predicted([each for each in left if each.problem not in counted], job)


def _raced(
    problem: GemmProblem,
    compiled: Mapping[GemmConfig, Compiled | Failed],
    job: _Job,
    trials: Trials,
    checks: tuple[Binary, ...] | Failed,
    pool: CompilePool,
) -> Measured:
    if isinstance(checks, Failed):
        return Measured(compiled=dict(compiled), given_up=f"its results cannot be checked: {checks.reason}")

    def compile_one(config: GemmConfig) -> Compiled | Failed:
        return compile_candidates(problem, [config], job.device, kernel=job.kernel, pool=pool)[config]

    return measure(
        problem,
        compiled,
        job.device,
        trials,
        checks,
        compile_one=compile_one,
        variants=job.variants(problem, compiled),
        algorithms=ALGORITHMS if job.kernel == "gemm_tuner" and may_race(problem) else 0,
        options=RACE,
    )


def trials_on(device: DeviceSpec) -> Trials:
    """Trials on the GPU of this machine that the device describes, all of it or as many SMs as the device has.

    Raises NoDeviceError where the GPU here is another one, TorchMissingError where the library cannot be called.
    """
    here = query()
    if (here.name, here.compute_capability, here.sm_count) != (device.name, device.compute_capability, device.sm_count):
        raise NoDeviceError(
            f"{device} cannot be measured: the GPU here is {here}. Predict for it, or take the GPU here."
        )
    if not installed_version("torch"):
        raise TorchMissingError(
            "the library kernel is timed through PyTorch, which is not installed: pip install torch"
        )
    sm_count = 0 if here.available_sms == device.available_sms else device.available_sms
    return Trials(ordinal=current_ordinal(), sm_count=sm_count)


def present_versions(device: DeviceSpec) -> Versions:
    """The versions that have a part in a record made now."""
    return Versions(
        installed_version("gemm_tuner"), installed_version("torch"), installed_version(*TRITON), device.driver_version
    )


def current_kernels(records: Iterable[Record] = ()) -> frozenset[str]:
    """The ids of the kernels that are installed: what a record must name to be used.

    The library's is among them only where one of the records names it: to know its version it must be opened.
    """
    ours = frozenset((*map(kernel_id, FAMILIES), *INDUCTORS))
    library = library_kernel() if any(is_library_kernel(each.kernel) for each in records) else None
    return ours if library is None else ours | {library}


def usable_kernels(records: Iterable[Record]) -> frozenset[str]:
    """`current_kernels`, and the templates of Inductor's in the records that the installed torch has too."""
    # a template belongs to its torch: the same version has the same one
    known = tuple(records)
    templates = {each.kernel for each in known if each.versions.torch == installed_version("torch")}
    return current_kernels(known) | {each for each in templates if each.startswith("inductor::")}


def _already_known(
    wanted: list[CountedProblem], device: DeviceSpec, records: str | Path | None, *, measured: bool
) -> dict[GemmProblem, Outcome]:
    if records is None:
        return {}
    known = open_for_append(records).records
    kernels = usable_kernels(known)
    index = Index(known, kernels=kernels)
    here = Fingerprint.of(device)
    best: dict[tuple[GemmProblem, str], Record] = {}
    library: dict[tuple[GemmProblem, str], Record] = {}
    for each in known:
        if each.kind == "trial" and each.latency_us is not None and each.device == here:
            of = each.problem, each.basis
            if each.choice is None:
                library[of] = each
            elif each.kernel in kernels:
                best[of] = min(best.get(of, each), each, key=_latency_us)
    found = (index.exact(each.problem, device) for each in wanted)
    return {
        winner.problem: recall(
            winner, best.get((winner.problem, winner.basis)), library.get((winner.problem, winner.basis)), device
        )
        for winner in found
        if winner is not None and (winner.basis == "measured" or not measured)
    }


def _latency_us(record: Record) -> float:
    return math.inf if record.latency_us is None else record.latency_us


def _slowest_first(problems: Iterable[CountedProblem], device: DeviceSpec) -> list[CountedProblem]:
    """A budget that runs out should have been spent where the model spends its time."""
    return sorted(problems, key=lambda each: -each.count * predict_library(each.problem, device))
