"""From what is known of one problem's candidates, predicted or measured, to its trials and its winner. Pure."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ._core import (
    DeviceSpec,
    GemmConfig,
    GemmProblem,
    LibraryAlgorithm,
    Prediction,
    estimate_resources,
    predict,
    predict_library,
    why_illegal,
)
from .compile import Compiled, Failed, why_dropped
from .cublaslt import Candidate, library_kernel
from .measuring import Measured
from .problems import CountedProblem
from .records import Basis, Fingerprint, Kind, Record, Versions, aten_kernel
from .sources import kernel_id, only_inductor_has_it

# A Triton config replaces the library kernel only when it is predicted to win by more than this part of its latency:
# what a prediction cannot tell apart must not cost anybody a slower model.
MARGIN = 0.05


@dataclass(frozen=True)
class Outcome:
    """What became of one problem.

    best: the trial of the best candidate, also where the library kernel won; None where no candidate was fit.
    library_us: of the library kernel, on the basis that the winner has. waves (of `best`): predicted. resumed: the
    records file had it before this run.
    """

    winner: Record
    best: Record | None
    library_us: float
    waves: float | None
    resumed: bool


def settle(
    counted: CountedProblem,
    compiled: Mapping[GemmConfig, Compiled | Failed | None],
    device: DeviceSpec,
    versions: Versions,
) -> tuple[list[Record], Outcome]:
    """The trials and the winner as predicted from what the compiler said of the candidates.

    None stands for a candidate that was not compiled: its estimated resources are taken, and not kept.
    """
    problem, library_us = counted.problem, predict_library(counted.problem, device)
    record = _records_of(counted, device, versions, basis="predicted")
    trials = [record(None, library_us, kind="trial")]
    standing: list[tuple[Prediction, Record]] = []
    dropped: list[str] = []
    for config, result in compiled.items():
        judged = _judge(problem, config, result, device)
        if isinstance(judged, Prediction):
            trials.append(record(config, judged.latency_us, kind="trial", **_as_compiled(result)))
            standing.append((judged, trials[-1]))
        else:
            dropped.append(judged)
            trials.append(record(config, None, kind="trial", reason=judged, **_as_compiled(result)))
    best, trial = min(standing, key=lambda pair: pair[0].latency_us, default=(None, None))
    if best is not None and trial is not None and best.latency_us < library_us * (1 - MARGIN):
        winner = replace(trial, kind="winner")
    else:
        reason = _why_library(best, dropped, library_us)
        winner = record(None, library_us, kind="winner", reason=reason or _why_none_is_legal(problem, device))
    return trials, Outcome(winner, trial, library_us, None if best is None else best.waves, resumed=False)


def settle_race(
    counted: CountedProblem, measured: Measured, device: DeviceSpec, versions: Versions
) -> tuple[list[Record], Outcome | None]:
    """The trials and the winner as a race on the device measured them; without a winner where the GPU was lost.

    Where the library kernel itself could not be timed, it wins by what is predicted of it, and the reason says so.
    """
    problem, verdict = counted.problem, measured.verdict
    record = _records_of(counted, device, versions, basis="measured")
    standings = {each.choice: each for each in (verdict.standings if verdict else []) if each.latency_us is not None}

    def line(choice: Candidate | None, kind: Kind, reason: str) -> Record:
        compiled = measured.compiled.get(choice) if isinstance(choice, GemmConfig) else None
        known, timed = _as_compiled(compiled), standings.get(choice)
        if timed is None:
            return record(choice, None, kind=kind, reason=reason, **known)
        more = {"spread": timed.spread, "clocks": measured.clocks.get(choice)}
        return record(choice, timed.latency_us, kind=kind, reason=reason, **more, **known)

    trials = [line(choice, "trial", measured.failed.get(choice, "")) for choice in {**standings, **measured.failed}]
    if measured.lost is not None:
        return trials, None
    fit = [each for each in trials if each.choice is not None and not each.reason]
    best = min(fit, key=lambda each: each.latency_us or math.inf, default=None)
    if verdict is None or verdict.library_us is None:
        library_us = predict_library(problem, device)
        reason = _why(measured, best, problem, device)
        winner = record(None, library_us, kind="winner", basis="predicted", reason=reason)
    else:
        library_us, choice = verdict.library_us, None if measured.given_up else verdict.winner
        winner = line(choice, "winner", "" if choice else _why(measured, best, problem, device))
    return trials, Outcome(winner, best, library_us, _waves(best, device), resumed=False)


def _as_compiled(result: Compiled | Failed | None) -> dict[str, Any]:
    """What a record says of the kernel that the compiler made."""
    if result is None or isinstance(result, Failed):
        return {}
    return {"kernel": result.kernel_id, "resources": result.resources}


def recall(winner: Record, best: Record | None, library: Record | None, device: DeviceSpec) -> Outcome:
    """The outcome that a winner's record, the best trial's and the library's tell of; what is missing is predicted."""
    library_us = predict_library(winner.problem, device) if library is None else library.latency_us
    return Outcome(winner, best, library_us or 0.0, _waves(best, device), resumed=True)


def _records_of(
    counted: CountedProblem, device: DeviceSpec, versions: Versions, *, basis: Basis
) -> Callable[..., Record]:
    """A function that makes records of the problem, from choice, latency_us and what else they hold."""

    def record(choice: Candidate | None, latency_us: float | None, **more: Any) -> Record:
        given = {"basis": basis, "kernel": _kernel(counted.problem, choice), **more}
        return Record(
            device=Fingerprint.of(device),
            problem=counted.problem,
            choice=choice,
            latency_us=latency_us,
            versions=versions,
            count=counted.count,
            **given,
        )

    return record


def _kernel(problem: GemmProblem, choice: Candidate | None) -> str:
    if choice is None:
        return aten_kernel(problem)
    if isinstance(choice, LibraryAlgorithm):
        return library_kernel() or ""
    return f"inductor::{problem.op}" if only_inductor_has_it(problem) else kernel_id(choice.family)


def _waves(best: Record | None, device: DeviceSpec) -> float | None:
    if best is not None and isinstance(best.choice, GemmConfig):
        with contextlib.suppress(ValueError):  # what others wrote may not fit on the device at all
            return predict(best.problem, best.choice, device, resources=best.resources).waves
    return None


def _judge(
    problem: GemmProblem, config: GemmConfig, compiled: Compiled | Failed | None, device: DeviceSpec
) -> Prediction | str:
    """The prediction for what the compiler made of the config, or why the config is out."""
    if isinstance(compiled, Failed):
        return f"it does not compile: {compiled.reason}"
    estimated = estimate_resources(problem, config, device.compute_capability)
    resources = estimated if compiled is None else compiled.resources
    dropped = why_dropped(resources, problem, device)
    if dropped is not None:
        return f"{dropped} (estimated)" if compiled is None else dropped
    try:
        return predict(problem, config, device, resources=resources)
    except ValueError as error:
        return str(error)


def _why_library(best: Prediction | None, dropped: list[str], library_us: float) -> str | None:
    if best is not None:
        gain = 1 - best.latency_us / library_us
        return f"the best candidate's predicted gain, {gain:.1%}, is not above the margin of {MARGIN:.0%}"
    if dropped:
        reasons = list(dict.fromkeys(dropped))
        return f"no candidate is fit: {'; '.join(reasons[:3])}"
    return None


def _why_none_is_legal(problem: GemmProblem, device: DeviceSpec) -> str:
    return f"no config is legal: {why_illegal(problem, GemmConfig(), device)}"


def _why(measured: Measured, best: Record | None, problem: GemmProblem, device: DeviceSpec) -> str:
    """Why a race left the problem with the library kernel."""
    if measured.given_up is not None:
        return measured.given_up
    if best is not None and measured.verdict is not None:
        return f"no candidate beats it by more than margin and noise (decided by {measured.verdict.decided_by})"
    if measured.failed:
        return f"no candidate is fit: {'; '.join(list(dict.fromkeys(measured.failed.values()))[:3])}"
    return _why_none_is_legal(problem, device)
