"""The whole job: problems in, one winner for each out, everything learned kept in a records file on the way."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._core import (
    DeviceSpec,
    GemmConfig,
    GemmProblem,
    Prediction,
    estimate_resources,
    has_tensor_core_path,
    predict,
    predict_library,
    rank,
    tensor_core_rate,
    why_illegal,
)
from .compile import Compiled, Failed, compile_problems, why_dropped
from .devices import device as find_device
from .problems import CountedProblem
from .problems import merge as merge_problems
from .records import Fingerprint, Index, Record, Versions, append, aten_kernel, open_for_append
from .sources import kernel_id, only_inductor_has_it
from .versions import TRITON, installed_version

FAMILIES = ("tiled", "split_k")
INDUCTORS = ("inductor::mm_plus_mm",)  # predicted without compiling, so of no certain source and without its hash


@dataclass(frozen=True)
class Progress:
    """How far a run is; `latest` is the outcome that moved it, None at the start and while candidates compile."""

    done: int
    total: int
    latest: Outcome | None = None


@dataclass(frozen=True)
class TuneResult:
    """The outcomes in the order of the problems given, and the problems that the budget did not reach."""

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
    top_k: int = 8,
    budget_s: float | None = None,
    records: str | Path | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> TuneResult:
    """Chooses a config, or the library kernel, for each problem on the device, which need not be here.

    Every number is predicted, by the native model from the resources that the compiler reports for the `top_k` best
    candidates; those of mm_plus_mm, which only a template of Inductor computes, are not compiled but estimated. Equal
    problems are tuned once. What the records file (made where there is none) already answers is taken from it;
    everything else is added to it problem by problem, so an interrupted run goes on where it was. The problems that
    take the most time go first; after `budget_s` seconds no further one is finished. `on_progress` is called at the
    start and after each problem. Raises RecordsError, UnknownDeviceError, NoDeviceError,
    TritonMissingError, and ValueError for a top_k below 1.
    """
    started_s = time.monotonic()
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    spec = device if isinstance(device, DeviceSpec) else find_device(device)
    wanted = merge_problems(each if isinstance(each, CountedProblem) else CountedProblem(each) for each in problems)
    outcomes = _already_known(wanted, spec, records)
    tell = on_progress or (lambda progress: None)
    tell(Progress(len(outcomes), len(wanted)))
    versions = present_versions(spec)
    left = _slowest_first((each for each in wanted if each.problem not in outcomes), spec)
    candidates = {each.problem: _candidates(each.problem, spec, top_k) for each in left}
    counts = {each.problem: each.count for each in left}
    if budget_s is None or time.monotonic() - started_s < budget_s:
        for problem, compiled in _compiled(candidates, spec, workers):
            trials, outcome = settle(CountedProblem(problem, counts[problem]), compiled, spec, versions)
            if records is not None:
                append(records, [*trials, outcome.winner])
            outcomes[problem] = outcome
            tell(Progress(len(outcomes), len(wanted), outcome))
            if budget_s is not None and time.monotonic() - started_s >= budget_s:
                break
    return TuneResult(
        device=spec,
        versions=versions,
        outcomes=tuple(outcomes[each.problem] for each in wanted if each.problem in outcomes),
        unfinished=tuple(each for each in wanted if each.problem not in outcomes),
        records=None if records is None else Path(records),
        seconds=time.monotonic() - started_s,
    )


def present_versions(device: DeviceSpec) -> Versions:
    """The versions that have a part in a record made now."""
    return Versions(
        installed_version("gemm_tuner"), installed_version("torch"), installed_version(*TRITON), device.driver_version
    )


def current_kernels() -> frozenset[str]:
    """The ids of the kernels that are installed: what a record must name to be used."""
    return frozenset((*map(kernel_id, FAMILIES), *INDUCTORS))


def _compiled(
    candidates: Mapping[GemmProblem, Sequence[GemmConfig]], device: DeviceSpec, workers: int | None
) -> Iterator[tuple[GemmProblem, Mapping[GemmConfig, Compiled | Failed | None]]]:
    """What `compile_problems` yields, after the problems that have no kernel of ours to compile."""
    for problem in filter(only_inductor_has_it, candidates):
        yield problem, dict.fromkeys(candidates[problem])
    ours = {problem: configs for problem, configs in candidates.items() if not only_inductor_has_it(problem)}
    yield from compile_problems(ours, device, workers=workers)


def _already_known(
    wanted: list[CountedProblem], device: DeviceSpec, records: str | Path | None
) -> dict[GemmProblem, Outcome]:
    if records is None:
        return {}
    known, kernels = open_for_append(records).records, current_kernels()
    index = Index(known, kernels=kernels)
    here = Fingerprint.of(device)
    best: dict[GemmProblem, Record] = {}
    for each in known:
        if each.kind == "trial" and each.latency_us is not None and each.device == here and each.kernel in kernels:
            best[each.problem] = min(best.get(each.problem, each), each, key=_latency_us)
    found = ((each.problem, index.exact(each.problem, device)) for each in wanted)
    return {p: recall(winner, best.get(p), device) for p, winner in found if winner is not None}


def _latency_us(record: Record) -> float:
    return math.inf if record.latency_us is None else record.latency_us


def _slowest_first(problems: Iterable[CountedProblem], device: DeviceSpec) -> list[CountedProblem]:
    """A budget that runs out should have been spent where the model spends its time."""
    return sorted(problems, key=lambda each: -each.count * predict_library(each.problem, device))


def _candidates(problem: GemmProblem, device: DeviceSpec, top_k: int) -> list[GemmConfig]:
    if tensor_core_rate(problem, device) > 0 and not has_tensor_core_path(problem, device):
        top_k = 1  # Triton will not use the tensor cores that the library does (sm_75): one compile is evidence enough
    return [prediction.config for prediction in rank(problem, device, top_k=top_k)]
