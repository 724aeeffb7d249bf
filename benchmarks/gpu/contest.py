"""Who is timed against whom, and how the timing process talks to them. Imports no torch.

Each contestant lives in a fresh process of its own, so that what it says of its compile time is true; all of them stay
alive, so that their runs can be interleaved.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

VARIANTS = ("eager", "stock_gated", "stock_forced", "ours_cold", "ours_warm")  # warm starts from what cold learned
STOP_S = 10.0


@dataclass(frozen=True)
class Ready:
    """What a contestant found. sms: that it may use; reached_sms: those that a kernel of its ran on."""

    sms: int
    reached_sms: int
    device: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Compiled:
    """seconds: from the call of torch.compile to the end of the first run. error: relative to eager float32.

    triton_gemms, library_gemms: calls in the generated code; None for eager. report: gemm_tuner's, in words.
    """

    seconds: float
    error: float
    triton_gemms: int | None = None
    library_gemms: int | None = None
    report: str = ""
    decisions: tuple[str, ...] = ()


@dataclass
class Times:
    """Microseconds of single calls. gpu_us: on the GPU, its launches queued ahead; wall_us: from call to completion.

    launched_ahead: for how many of the gpu_us the queue was full before the GPU began.
    """

    gpu_us: list[float] = field(default_factory=list)
    wall_us: list[float] = field(default_factory=list)
    launched_ahead: int = 0

    def add(self, more: Times) -> None:
        """Takes in another round."""
        self.gpu_us += more.gpu_us
        self.wall_us += more.wall_us
        self.launched_ahead += more.launched_ahead


class Contestant(Protocol):
    """What answers in the process of its own."""

    def ready(self) -> Ready: ...
    def compile(self, workload: str) -> Compiled: ...
    def time(self, calls: int) -> Times: ...


Entrance = Callable[[str, int | None], Contestant]  # (variant, SMs or None for all) -> who it is; can be pickled


class ContestantError(Exception):
    """A contestant cannot go on; the message says why."""


def summary(samples: list[float]) -> dict[str, Any]:
    """Median, and spread: the distance between the quartiles, relative to the median; with every sample."""
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else samples * 3
    return {"median": median, "spread": (high - low) / median, "samples": [round(each, 2) for each in samples]}


class Remote:
    """A contestant in another process. Requests are answered in order; `ask` waits for the answer."""

    def __init__(
        self, entrance: Entrance, variant: str, sms: int | None, *, environment: Mapping[str, str | None], log: Path
    ) -> None:
        self.variant = variant
        self._log = log
        context = multiprocessing.get_context("spawn")
        self._end, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, entrance, variant, sms, str(log)))
        given = {name: value for name, value in os.environ.items() if environment.get(name, value) is not None}
        given |= {name: value for name, value in environment.items() if value is not None}
        with mock.patch.dict(os.environ, given, clear=True):  # a spawned process takes what is set now
            self._process.start()
        theirs.close()

    def ask(self, request: str, *arguments: Any, timeout_s: float) -> Any:
        """What `contestant.request(*arguments)` returns there. Raises ContestantError, after which it is gone."""
        try:
            self._end.send((request, arguments))
            if not self._end.poll(max(0.0, timeout_s)):
                self.stop(0)
                raise ContestantError(f"no answer to {request} within {timeout_s:.0f} s")
            answer = self._end.recv()
        except (EOFError, OSError):
            self._process.join(STOP_S)
            raise ContestantError(f"it ended with exit code {self._process.exitcode}; {self._last_words()}") from None
        if isinstance(answer, ContestantError):
            raise answer
        return answer

    def dismiss(self) -> None:
        """Nothing more will be asked: it may end."""
        self._end.close()

    def stop(self, patience_s: float = STOP_S) -> None:
        """Ends the process, by force where it does not end itself."""
        self.dismiss()
        self._process.join(patience_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return f"its last words: {' / '.join(lines[-3:])}" if lines else "it said nothing"


def _serve(end: Connection, entrance: Entrance, variant: str, sms: int | None, log: str) -> None:
    """The life of the other process: what it prints goes into the log."""
    with Path(log).open("ab", buffering=0) as out:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(out.fileno(), stream.fileno())
    contestant: Contestant | None = None
    while True:
        try:
            request, arguments = end.recv()
        except (EOFError, OSError):
            return
        try:
            if contestant is None:
                contestant = entrance(variant, sms)
            answer = getattr(contestant, request)(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this contestant's result
            traceback.print_exc()
            answer = ContestantError(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
        end.send(answer)
