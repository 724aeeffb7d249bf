"""Trials of candidates on a GPU, by a child process: what faults or hangs there costs its own trial alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from ._core import Clocks, GemmProblem, LibraryAlgorithm
from .binary_cache import Binary
from .cublaslt import WORKSPACE_BYTES, Candidate
from .errors import GpuLostError
from .launches import Launch, check_launches
from .placement import operands_of
from .settings import settings
from .trial_job import LIBRARY
from .worker_process import START_TIMEOUT_S, WorkerGone, WorkerProcess

ATEN_WORK = "gemm_tuner.aten:library_work"
TIMEOUT_S = 60.0  # the slowest kernels take milliseconds, and loading, filling and checking seconds
_JOB = "gemm_tuner.trial_job:job"

log = logging.getLogger("gemm_tuner")


class TrialError(Exception):
    """The choice is out, and why, in a sentence. is_fault: it broke the process it ran in, which has been replaced."""

    def __init__(self, reason: str, *, is_fault: bool = False) -> None:
        super().__init__(reason)
        self.is_fault = is_fault


@dataclass(frozen=True)
class Timing:
    """Microseconds of each repeat of one choice, and what the GPU's clocks were: None where NVML does not tell."""

    latencies_us: tuple[float, ...]
    clocks: Clocks | None


@dataclass(frozen=True)
class _Prepared:
    """What a new process is told first."""

    problem: GemmProblem
    checks: tuple[Binary, ...]
    parts_bytes: int
    planned_sms: int
    seed: int

    def request(self) -> dict[str, Any]:
        return {
            "do": "prepare",
            "problem": self.problem.to_dict(),
            "buffers": operands_of(self.problem, parts_bytes=self.parts_bytes),
            "checks": [each.to_dict() for each in check_launches(self.problem, self.checks)],
            "planned_sms": self.planned_sms,
            "seed": self.seed,
        }


@final
class Trials:
    """A GPU at the other end of a process that is started when it is needed, and again when it is lost.

    sm_count: SMs of a partition to time in, 0 for the whole GPU. timeout_s: for one request; TIMEOUT_S by default.
    library: the function that makes the library's kernel of a problem a piece of the timer's work ("module:function");
    ATEN_WORK by default.
    """

    def __init__(
        self, *, ordinal: int = 0, sm_count: int = 0, timeout_s: float | None = None, library: str | None = None
    ) -> None:
        self._where = {"ordinal": ordinal, "sm_count": sm_count, "library": library or ATEN_WORK}
        self._timeout_s = timeout_s or TIMEOUT_S
        self._process: WorkerProcess | None = None
        self._prepared: _Prepared | None = None
        self._loaded: dict[Candidate, int] = {}

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def prepare(
        self,
        problem: GemmProblem,
        checks: Sequence[Binary],
        *,
        parts_bytes: int = 0,
        planned_sms: int = 0,
        seed: int = 0,
    ) -> None:
        """The problem that the next choices compute. checks: as `compile_checks` gives them; parts_bytes: the
        largest workspace of the candidates; planned_sms: that the library is to plan for, 0 for all. Raises TrialError
        where its operands do not fit or its kernels do not run, and GpuLostError.
        """
        self._prepared = _Prepared(problem, tuple(checks), parts_bytes, planned_sms, seed)
        self._loaded.clear()
        if self._process is None:
            self._start()
        else:
            self._ask(self._prepared.request())

    def algorithms(self, count: int) -> list[LibraryAlgorithm]:
        """What the library's heuristic has for the problem, at most so many; none where it cannot be asked, which the
        log says. They may need WORKSPACE_BYTES of the prepared `parts_bytes`. Raises GpuLostError."""
        if self._process is None:
            self._start()
        try:
            answer = self._ask({"do": "algorithms", "count": count, "workspace_bytes": WORKSPACE_BYTES})
        except TrialError as error:
            log.info("no algorithms of cuBLASLt's race: %s", error)
            return []
        return [LibraryAlgorithm.from_dict(each) for each in answer["algorithms"]]

    def time(self, choice: Candidate | None, launches: Sequence[Launch], repeats: int) -> Timing:
        """Times a candidate by its launches, which an algorithm of the library's has none of, or, for None, the
        library's kernel.

        A candidate's first run is checked, every element of it. Raises TrialError where it cannot be launched, faults,
        hangs or gives wrong numbers, and GpuLostError.
        """
        if self._process is None:
            self._start()
        if choice is not None and choice not in self._loaded:
            self._load(choice, launches)
        candidate = LIBRARY if choice is None else self._loaded[choice]
        answer = self._ask({"do": "time", "candidate": candidate, "repeats": repeats})
        clocks = None if answer["clocks"] is None else Clocks.from_dict(answer["clocks"])
        return Timing(tuple(answer["latencies_us"]), clocks)

    def _load(self, choice: Candidate, launches: Sequence[Launch]) -> None:
        number = len(self._loaded)
        if isinstance(choice, LibraryAlgorithm):
            found = self._ask({"do": "load_algorithm", "candidate": number, "algorithm": choice.to_dict()})
        else:
            found = self._ask({"do": "load", "candidate": number, "launches": [each.to_dict() for each in launches]})
        if found["wrong"]:
            off = f"{found['wrong']} elements are off, by up to {found['largest_error']:.3g}"
            raise TrialError(f"it gives wrong numbers: {off}")
        self._loaded[choice] = number

    def _start(self) -> None:
        here = settings()
        self._process = WorkerProcess(_JOB, {})
        try:
            self._process.wait_until_ready()
            opened = {"do": "open", **self._where, "libcuda": here.libcuda, "libnvml": here.libnvml}
            answer = self._process.ask(opened, START_TIMEOUT_S)
        except WorkerGone as gone:
            self.close()
            raise GpuLostError(f"The process that is to use the GPU does not start: {gone}.") from None
        if "error" in answer:
            self.close()
            raise GpuLostError(f"The GPU cannot be used: {answer['error']}")
        asked, found = self._where["sm_count"], answer["sm_count"]
        if asked not in (0, found):
            self.close()
            raise GpuLostError(f"The GPU can be parted into {found} SMs where {asked} were asked for: ask for {found}.")
        if self._prepared is not None:
            self._ask(self._prepared.request())

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        try:
            answer = self._process.ask(request, self._timeout_s)
        except WorkerGone as gone:
            self._lose()
            raise TrialError(f"the process that ran it was lost: {gone}", is_fault=True) from None
        if "error" not in answer:
            return answer
        if answer["is_broken"]:
            self._lose()
        raise TrialError(answer["error"], is_fault=answer["is_broken"])

    def _lose(self) -> None:
        log.info("a trial was lost, and its process is replaced")
        self.close()
        self._loaded.clear()
