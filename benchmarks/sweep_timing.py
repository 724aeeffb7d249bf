"""One problem of a sweep, timed: everyone in rounds of random order, the hopeless dropped after the first of them."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping
from typing import Any, final

import gemm_tuner as gt
from gemm_tuner.binary_cache import Binary
from gemm_tuner.compile import Compiled, Failed, why_dropped
from gemm_tuner.launches import launches_of
from gemm_tuner.measuring import MAX_FAULTS
from gemm_tuner.sources import workspace_bytes
from gemm_tuner.trials import TrialError, Trials
from sweep_file import Choice, Row

HOPELESS = {0: 2.5, 1: 1.5}  # after that round: who takes so many times what the quickest candidate takes
LIBRARY_REPEATS = 2  # in each round

Results = Mapping[gt.GemmConfig, Compiled | Failed]


@final
class ProblemSweep:
    """A problem's candidates that can be timed. One that goes wrong is not tried again on another partition."""

    def __init__(self, problem: gt.GemmProblem, results: Results, checks: tuple[Binary, ...] | Failed) -> None:
        self._problem, self._checks = problem, checks
        compiled = {config: result for config, result in results.items() if isinstance(result, Compiled)}
        self._launches = {config: launches_of(problem, result) for config, result in compiled.items()}
        self._resources = {config: result.resources for config, result in compiled.items()}
        self._wrong = {config: result.reason for config, result in results.items() if isinstance(result, Failed)}
        self._faults = 0

    def time(self, trials: Trials, device: gt.DeviceSpec, rounds: int) -> tuple[Row, dict[str, Any]]:
        """A row of what the partition at the other end of `trials` takes, and what the line of it says besides.

        After faults of as many candidates as tuning bears, the problem's untimed candidates stay untimed.
        Raises GpuLostError.
        """
        unfit = {config: self._why_unfit(config, device) for config in self._resources}
        bad = {config: reason for config, reason in unfit.items() if reason is not None} | self._wrong
        alive = [config for config in self._resources if config not in bad]
        times: dict[Choice, list[float]] = {}
        clocks_mhz: list[int] = []
        more: dict[str, Any] = {}
        try:
            if isinstance(self._checks, Failed):
                raise TrialError(f"its results cannot be checked: {self._checks.reason}")
            parts_bytes = max((workspace_bytes(self._problem, each) for each in alive), default=0)
            trials.prepare(self._problem, self._checks, parts_bytes=parts_bytes)
            for turn in range(rounds):
                self._round(trials, alive, turn, times, clocks_mhz)
                alive = _hopeful(alive, times, HOPELESS.get(turn))
        except TrialError as error:  # of the problem, not of a candidate
            more["why"] = str(error)
        if clocks_mhz:
            more["sm_mhz"] = [min(clocks_mhz), round(statistics.median(clocks_mhz)), max(clocks_mhz)]
        repeats = {choice: tuple(found) for choice, found in times.items() if choice not in self._wrong}
        return Row(self._problem, device.available_sms, repeats, bad | self._wrong), more

    def _round(
        self,
        trials: Trials,
        alive: list[gt.GemmConfig],
        turn: int,
        times: dict[Choice, list[float]],
        clocks_mhz: list[int],
    ) -> None:
        order: list[Choice] = [*alive, *[None] * LIBRARY_REPEATS]
        random.Random(turn).shuffle(order)
        for choice in order:
            if choice in self._wrong:
                continue
            if self._faults >= MAX_FAULTS:
                raise TrialError(f"{self._faults} trials of it broke the process that they ran in")
            try:
                timing = trials.time(choice, self._launches[choice] if choice else (), 1)
            except TrialError as error:
                self._faults += error.is_fault
                if choice is None:
                    raise TrialError(f"the library's kernel cannot be timed: {error}") from error
                self._wrong[choice] = str(error)
                continue
            times.setdefault(choice, []).extend(timing.latencies_us)
            if timing.clocks is not None and timing.clocks.sm_mhz is not None:
                clocks_mhz.append(timing.clocks.sm_mhz)

    def _why_unfit(self, config: gt.GemmConfig, device: gt.DeviceSpec) -> str | None:
        """As for tuning, but that what spills may run: what that costs is to be seen."""
        return why_dropped(self._resources[config].replace(spill_bytes=0), self._problem, device)


def _hopeful(
    alive: list[gt.GemmConfig], times: Mapping[Choice, list[float]], limit: float | None
) -> list[gt.GemmConfig]:
    medians = {config: statistics.median(times[config]) for config in alive if config in times}
    least = min(medians.values(), default=0.0)
    return [config for config, us in medians.items() if limit is None or us <= limit * least]
