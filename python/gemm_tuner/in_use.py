"""Which records the op follows in this process, and the kernels that it has made ready by them. Imports no torch."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ._core import DeviceSpec, GemmProblem, LibraryAlgorithm
from .choosing import Choice, Choices
from .cublaslt import Candidate
from .devices import local
from .errors import GemmTunerError
from .placement import Placement
from .records import Record, RecordsSource, read, read_all
from .settings import settings

if TYPE_CHECKING:
    import torch

log = logging.getLogger("gemm_tuner")

OnMiss = Literal["aten", "tune"]
ON_MISS: tuple[OnMiss, ...] = ("aten", "tune")
TUNED = "tuned.jsonl"  # in the cache folder: what on_miss="tune" has measured
_numbers = itertools.count()
_MANY_CALLS = 4096  # shapes that grow step by step would fill the memory; whoever has so many looks them up again


@dataclass(frozen=True)
class Work:
    """What a runner is made for: the problem under a config, or by an algorithm of the library's, its operands where
    `place` says, on a GPU.

    ordinal: the GPU's number, as the driver and torch count.
    """

    problem: GemmProblem
    config: Candidate
    place: Placement
    device: DeviceSpec
    ordinal: int


class Runner(Protocol):
    """Computes one `Work`: enqueues C = activation(A @ B + bias) on the current stream. C is contiguous."""

    def __call__(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, bias: torch.Tensor | None, /) -> None:
        """Bias is a contiguous row of n, if there is one."""


class RecordsInUse:
    """Records that the op follows, until `undo()` or the end of the `with` block.

    choices: what became of each problem so far. calls: whatever the op has made ready for a kind of call, by its key.
    number: no other in this process has it.
    """

    def __init__(
        self,
        records: Iterable[Record],
        on_miss: OnMiss = "aten",
        *,
        device_of: Callable[[int], DeviceSpec] = local,
        runner_of: Callable[[Work], Runner] | None = None,
    ) -> None:
        if on_miss not in ON_MISS:
            raise ValueError(f"on_miss must be one of {', '.join(ON_MISS)}, got {on_miss!r}")
        self._records = tuple(records)
        self._on_miss = on_miss
        if on_miss == "tune" and (settings().cache_dir / TUNED).exists():
            self._records += tuple(read(settings().cache_dir / TUNED).records)
        self._known = Choices(self._records)
        self._device_of = functools.cache(device_of)
        self._runner_of = runner_of or _native_runner
        self._lock = threading.RLock()
        self.number = next(_numbers)
        self.choices: dict[GemmProblem, Choice] = {}
        self.calls: dict[Hashable, Any] = {}

    def prepared(self, key: Hashable, prepare: Callable[[], Any]) -> Any:
        """What `calls` has for the key, which `prepare` makes where it is missing, once."""
        with contextlib.suppress(KeyError):
            return self.calls[key]
        with self._lock:
            if key not in self.calls:
                made = prepare()
                if len(self.calls) >= _MANY_CALLS:
                    self.calls.clear()
                self.calls[key] = made
            return self.calls[key]

    def runner(self, problem: GemmProblem, place: Placement, ordinal: int) -> Runner | None:
        """What computes the problem on that GPU; None where the library does.

        Whatever stands in the way of a kernel is said once, in the log, and leaves the problem with the library.
        """
        with self._lock:
            try:
                device = self._device_of(ordinal)
                choice = self.choices.get(problem) or self._choose(problem, device)
                self.choices[problem] = choice
                if choice.config is None:
                    return None
                return self._runner_of(Work(problem, choice.config, place, device, ordinal))
            except (GemmTunerError, ValueError) as error:  # ValueError: the driver knows other parameters
                _warn(f"{problem} stays with ATen: {error}")
                self.choices[problem] = Choice(None, str(error))
                return None

    def _choose(self, problem: GemmProblem, device: DeviceSpec) -> Choice:
        choice = self._known.choice_for(problem, device)
        if choice.record is None and self._on_miss == "tune":
            from .tuning import tune

            path = settings().cache_dir / TUNED
            result = tune([problem], device, measured=True, kernel="gemm_tuner", records=path)
            self._records += tuple(outcome.winner for outcome in result.outcomes)
            self._known = Choices(self._records)
            choice = self._known.choice_for(problem, device)
        log.info("%s: %s", problem, choice)
        return choice

    def undo(self) -> None:
        """The op follows what it followed before."""
        with _lock:
            if self in _stack:
                _stack.remove(self)

    def __enter__(self) -> RecordsInUse:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<{len(self._records)} records in use, {len(self.choices)} problems met>"


def use_records(
    records: RecordsSource | Iterable[RecordsSource] | None = None, *, on_miss: OnMiss = "aten"
) -> RecordsInUse:
    """From now on `gemm_tuner.matmul` and the modules made of it follow these records, in every thread.

    records: files or Records. A problem has the choice of its record for this very device; without one, on_miss says
    what to do: "aten" (the library kernel) or "tune" (measure it on the GPU now, which takes seconds, and keep the
    outcome in the cache folder). The latest call counts; `undo()` of what it returns, or leaving its `with` block,
    takes it back. Before the first, the files of GEMM_TUNER_RECORDS are in use. Raises RecordsError, ValueError.
    """
    latest = RecordsInUse(read_all(records), on_miss)
    put_in_use(latest)
    return latest


def put_in_use(latest: RecordsInUse) -> None:
    """What `use_records` does with what it has read."""
    with _lock:
        _stack.append(latest)


def in_use() -> RecordsInUse:
    """What the op follows now."""
    return _stack[-1] if _stack else _of_environment()


_stack: list[RecordsInUse] = []
_lock = threading.RLock()


@functools.cache
def _of_environment() -> RecordsInUse:
    try:
        return RecordsInUse(read_all(settings().records))
    except GemmTunerError as error:
        _warn(f"GEMM_TUNER_RECORDS is left out: {error}")
        return RecordsInUse(())


def _native_runner(work: Work) -> Runner:
    from .running import LibraryRunner, NativeRunner

    return LibraryRunner(work) if isinstance(work.config, LibraryAlgorithm) else NativeRunner(work)


@functools.cache
def _warn(sentence: str) -> None:
    log.warning("%s", sentence)
