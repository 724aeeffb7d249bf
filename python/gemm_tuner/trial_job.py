"""Trials on the GPU, in a process of their own that what is tried may kill: the other end of trials.py.

A request names a method of Bench and its arguments; the answer is what the method returns, or the error that the driver
or torch gave: {"error": sentence, "code": CUresult by name, "is_broken": does the GPU refuse everything from now on?}.
One thread, one GPU, one problem at a time.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, final

from . import _core
from ._core import GemmProblem, LibraryAlgorithm, LibraryProduct, Timer
from .cublaslt import product_on
from .errors import DriverError, GemmTunerError
from .launches import Launch
from .placement import Buffer, placement

LIBRARY = -1  # the library's kernel, among candidates that are numbered from 0


@final
class Bench:
    """A GPU, or so many of its SMs, and the operands of a problem."""

    def __init__(self, *, ordinal: int, sm_count: int, libcuda: str | None, libnvml: str | None, library: str) -> None:
        self._timer = Timer(ordinal, sm_count=sm_count, library=libcuda, nvml=libnvml)
        self._ordinal = ordinal
        self._library = library
        self._handles: dict[int, int] = {}
        self._compare = 0
        self._sets = 0
        self._product: Callable[[], LibraryProduct]

    @property
    def sm_count(self) -> int:
        """SMs that the kernels may use."""
        return self._timer.sm_count

    def prepare(
        self, problem: GemmProblem, buffers: Sequence[Buffer], checks: Sequence[Launch], planned_sms: int, seed: int
    ) -> dict[str, Any]:
        """Places the operands and computes what results should be; the number of operand sets. What was loaded is gone.

        checks: what computes `expected`, then what compares `c` with it. planned_sms: as `trials.Trials.prepare` says.
        """
        self._sets = sets = self._timer.allocate([_core.Operand(**each._asdict()) for each in buffers], seed=seed)
        expect, self._compare = (self._timer.load([_core.Launch(**vars(each))]) for each in checks)
        self._timer.run(expect)
        self._timer.unload(expect)
        module, function = self._library.split(":")
        library: Callable[..., int] = getattr(importlib.import_module(module), function)
        self._handles = {LIBRARY: library(problem, self._timer, ordinal=self._ordinal, sets=sets)}
        # asked for only where its algorithms race
        self._product = cache(partial(product_on, self._ordinal, problem, placement(problem), sm_count=planned_sms))
        return {"sets": sets}

    def algorithms(self, count: int, workspace_bytes: int) -> dict[str, Any]:
        """What the library's heuristic has for the problem."""
        found = self._product().algorithms(workspace_bytes=workspace_bytes, count=count)
        return {"algorithms": [each.to_dict() for each in found]}

    def load(self, candidate: int, launches: Sequence[Launch]) -> dict[str, Any]:
        """Loads the candidate and runs it once: how many elements it got wrong, and the largest error."""
        handle = self._timer.load([_core.Launch(**vars(each)) for each in launches])
        given = {each for launch in launches for each in launch.arguments if isinstance(each, str)}
        return self._checked(candidate, handle, given)

    def load_algorithm(self, candidate: int, algorithm: LibraryAlgorithm) -> dict[str, Any]:
        """The same for an algorithm of the library's."""
        kernel, stream = self._product().load(algorithm), self._timer.stream
        addresses = [[self._timer.address(name, number) for name in kernel.operands] for number in range(self._sets)]
        handle = self._timer.add(lambda number: kernel(stream, *addresses[number]))
        return self._checked(candidate, handle, set(kernel.operands))

    def _checked(self, candidate: int, handle: int, operands: set[str]) -> dict[str, Any]:
        for name in {"c", "parts"} & operands:
            self._timer.fill(name, "poison")
        self._timer.fill("verdict", "zeros")
        self._timer.run(handle)
        self._timer.run(self._compare)
        wrong, largest_error = struct.unpack("<if", self._timer.read("verdict"))
        if wrong:
            self._timer.unload(handle)
        else:
            self._handles[candidate] = handle
        return {"wrong": wrong, "largest_error": largest_error}

    def time(self, candidate: int, repeats: int) -> dict[str, Any]:
        """Microseconds of each repeat, and the GPU's clocks after them."""
        latencies_us = self._timer.time(self._handles[candidate], repeats)
        clocks = self._timer.clocks()
        return {"latencies_us": latencies_us, "clocks": None if clocks is None else clocks.to_dict()}

    def is_broken(self) -> bool:
        """Has a kernel broken the context? Then every call gives its error again."""
        try:
            self._timer.fill("verdict", "zeros")
        except DriverError:
            return True
        except ValueError:  # there are no operands yet
            return False
        return False


_FROM_JSON: dict[str, Callable[[Any], Any]] = {
    "problem": GemmProblem.from_dict,
    "buffers": lambda buffers: [Buffer(*each) for each in buffers],
    "checks": lambda checks: [Launch.from_dict(each) for each in checks],
    "algorithm": LibraryAlgorithm.from_dict,
    "launches": lambda launches: [Launch.from_dict(each) for each in launches],
}
_bench: Bench | None = None


def job(request: dict[str, Any]) -> dict[str, Any]:
    """{"do": "open", what Bench takes}, or {"do": a method of Bench, its arguments}."""
    global _bench
    do = request.pop("do")
    given = {name: _FROM_JSON.get(name, lambda value: value)(value) for name, value in request.items()}
    try:
        if do == "open":
            _bench = Bench(**given)
            return {"sm_count": _bench.sm_count}
        answer: dict[str, Any] = getattr(_bench, do)(**given)
    except (GemmTunerError, ImportError, ValueError, RuntimeError) as error:  # of the last, torch's
        is_broken = _bench is None or _bench.is_broken()
        return {"error": str(error).splitlines()[0], "code": getattr(error, "code", ""), "is_broken": is_broken}
    return answer
