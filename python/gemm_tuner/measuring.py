"""One problem measured: its candidates and the library's kernel raced against each other on the GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from ._core import Clocks, DeviceSpec, GemmConfig, GemmProblem, LibraryAlgorithm, Race, RaceOptions, Verdict
from .binary_cache import Binary
from .compile import Compiled, Failed, why_dropped
from .cublaslt import WORKSPACE_BYTES, Candidate, planned_sms
from .errors import GpuLostError
from .launches import Launch, launches_of
from .sources import workspace_bytes
from .trials import TrialError, Trials

MAX_FAULTS = 2  # of one problem's candidates: then it is left with ATen, whatever the others might do

CompileOne = Callable[[GemmConfig], Compiled | Failed]


@dataclass
class Measured:
    """What a race found; verdict is None where it could not begin.

    compiled: every candidate that was, and what the compiler said of it. failed: why a choice is out. clocks: what was
    told of the GPU last, as the choice was timed. given_up: why the problem is left with ATen whatever the verdict.
    lost: the GPU went away, so that there is no answer.
    """

    verdict: Verdict | None = None
    compiled: dict[GemmConfig, Compiled | Failed] = field(default_factory=dict)
    failed: dict[Candidate | None, str] = field(default_factory=dict)
    clocks: dict[Candidate | None, Clocks] = field(default_factory=dict)
    given_up: str | None = None
    lost: GpuLostError | None = None


def measure(
    problem: GemmProblem,
    candidates: Mapping[GemmConfig, Compiled | Failed],
    device: DeviceSpec,
    trials: Trials,
    checks: Sequence[Binary],
    *,
    compile_one: CompileOne,
    variants: Sequence[GemmConfig] = (),
    algorithms: int = 0,
    options: RaceOptions | None = None,
) -> Measured:
    """Races the candidates, best predicted first, and the library's kernel.

    checks: what results are checked with, as `compile_checks` gives it. variants: configs that differ from candidates
    in group_m, split_k, family and ctas alone; those of the leaders are compiled by `compile_one` and raced too.
    algorithms: how many of the library's own are asked for and raced, at most.
    """
    field_of = _Field(problem, device, dict(candidates), compile_one)
    found = Measured(compiled=field_of.compiled)
    runners = [config for config in candidates if field_of.why_out(config) is None]
    found.failed.update({config: field_of.why_out(config) or "" for config in candidates if config not in runners})
    started_s = time.monotonic()
    parts_bytes = max((workspace_bytes(problem, each) for each in (*runners, *variants)), default=0)
    parts_bytes = max(parts_bytes, WORKSPACE_BYTES if algorithms else 0)
    of_library: list[LibraryAlgorithm] = []
    try:
        trials.prepare(problem, checks, parts_bytes=parts_bytes, planned_sms=planned_sms(device))
        if algorithms:
            of_library = trials.algorithms(algorithms)
    except TrialError as error:
        found.given_up = f"nothing of it can be timed: {error}"
        return found
    except GpuLostError as error:
        found.lost = error
        return found
    race = Race(runners, options or RaceOptions(), list(variants), of_library)
    faults = 0
    while found.given_up is None and found.lost is None and (asked := race.ask(time.monotonic() - started_s)):
        for choice, repeats in asked:
            try:
                timing = trials.time(choice, field_of.launches(choice), repeats)
            except TrialError as error:
                race.fail(choice)
                found.failed[choice] = str(error)
                faults += error.is_fault
            except GpuLostError as error:  # by the trial before
                found.lost = error
                break
            else:
                race.tell(choice, list(timing.latencies_us))
                if timing.clocks is not None:
                    found.clocks[choice] = timing.clocks
        if None in found.failed:
            found.given_up = f"the library's kernel cannot be timed: {found.failed[None]}"
        elif faults >= MAX_FAULTS:
            found.given_up = f"{faults} trials of it broke the process that they ran in"
    found.verdict = race.verdict()
    return found


@final
class _Field:
    """The candidates of one problem as they are compiled, the later ones on demand."""

    def __init__(
        self,
        problem: GemmProblem,
        device: DeviceSpec,
        compiled: dict[GemmConfig, Compiled | Failed],
        compile_one: CompileOne,
    ) -> None:
        self.compiled = compiled
        self._problem = problem
        self._device = device
        self._compile_one = compile_one

    def why_out(self, config: GemmConfig) -> str | None:
        """Why the candidate is out before it runs, in a sentence; None where it may run."""
        if config not in self.compiled:
            self.compiled[config] = self._compile_one(config)
        result = self.compiled[config]
        if isinstance(result, Failed):
            return f"it does not compile: {result.reason}"
        return why_dropped(result.resources, self._problem, self._device)

    def launches(self, choice: Candidate | None) -> tuple[Launch, ...]:
        """What launches the choice; nothing for the library's. Raises TrialError where it is out."""
        if not isinstance(choice, GemmConfig):
            return ()
        reason = self.why_out(choice)
        result = self.compiled[choice]
        if reason is not None or isinstance(result, Failed):
            raise TrialError(reason or "")
        return launches_of(self._problem, result)
