"""On and off: what holds Inductor's front door. Imports neither torch nor triton, and waits for Inductor if need be.

Everything that Inductor compiles passes `torch._inductor.compile_fx.compile_fx`. While a session is on, that name is a
function that compiles within `choices.covered`, and has what it compiles later (backwards, in other threads) covered
too.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..settings import DEFAULT_TOP_K, settings

if TYPE_CHECKING:
    from .._core import DeviceSpec
    from ..records import RecordsSource
    from ..settings import Policy
    from .session import Report, Session

log = logging.getLogger("gemm_tuner")

_DOOR = "torch._inductor.compile_fx"


class _Held(NamedTuple):
    module: Any
    ours: Callable[..., Any]
    stock: Callable[..., Any]


_sessions: list[Session] = []
_held: _Held | None = None
_lock = threading.RLock()


def enable(
    records: RecordsSource | Iterable[RecordsSource] | None = None,
    policy: Policy = "measure",
    top_k: int = DEFAULT_TOP_K,
    device: str | DeviceSpec | None = None,
    sm_budget: int | None = None,
) -> Report:
    """From now on torch.compile tunes matrix products on every NVIDIA GPU, with our candidates and records.

    Covers every compile by Inductor in this process, in any thread, until `disable()`; functions that are already
    compiled stay as they are (`torch.compiler.reset()` makes torch forget them). GEMM autotuning is switched on for
    them, whatever their mode.

    records: files or Records that say what to choose. policy: what to do about a problem without one: "measure" (let
    Inductor time the `top_k` best candidates and ATen, and remember the outcome), "lookup" (keep ATen), "predict" (take
    the model's choice where it is predicted to win by a margin, else ATen). device: what to compile for, by default the
    GPU that torch compiles for. sm_budget: SMs that a kernel may use.

    Returns a Report, which fills as torch compiles. The latest enable() counts. Raises RecordsError,
    UnknownDeviceError, ValueError, and TorchMissingError where PyTorch is not installed.
    """
    latest = session(records=records, policy=policy, top_k=top_k, device=device, sm_budget=sm_budget)
    _push(latest)
    return latest.report


def disable() -> None:
    """Undoes the latest `enable()` that is still on; does nothing where there is none."""
    with _lock:
        if _sessions:
            _drop(_sessions[-1])


@contextmanager
def enabled(
    records: RecordsSource | Iterable[RecordsSource] | None = None,
    policy: Policy = "measure",
    top_k: int = DEFAULT_TOP_K,
    device: str | DeviceSpec | None = None,
    sm_budget: int | None = None,
) -> Iterator[Report]:
    """`enable` for the block, whatever is switched on or off inside it."""
    latest = session(records=records, policy=policy, top_k=top_k, device=device, sm_budget=sm_budget)
    _push(latest)
    try:
        yield latest.report
    finally:
        _drop(latest)


def enable_from_environment() -> Report:
    """`enable` with what the environment says: GEMM_TUNER_RECORDS and the like, see docs/inductor.md."""
    here = settings()
    return enable(
        records=here.records, policy=here.policy, top_k=here.top_k, device=here.device, sm_budget=here.sm_budget
    )


def covering(on: Session, compile_fx: Callable[..., Any]) -> Callable[..., Any]:
    """Inductor's front door, with what passes it covered by the session, if it is for a GPU."""

    @functools.wraps(compile_fx)
    def tuned(model: Any, inputs: Any, inner_compile: Any = None, *args: Any, **kwargs: Any) -> Any:
        from . import coverage

        aim = coverage.aim(on, model, inputs)
        if aim is None:
            given = () if inner_compile is None else (inner_compile,)
            return compile_fx(model, inputs, *given, *args, **kwargs)
        within = coverage.within(on, aim)
        inner = within(inner_compile or coverage.stock_inner_compile(compile_fx))
        return within(compile_fx)(model, inputs, inner, *args, **kwargs)

    return tuned


def session(**given: Any) -> Session:
    """What `enable` would switch on; takes and raises what it does."""
    from ..capture import require_torch
    from .session import Session, options

    require_torch()
    return Session(options(**given))


def _push(latest: Session) -> None:
    with _lock:
        _sessions.append(latest)
        if len(_sessions) == 1:
            _hold_door()


def _drop(one: Session) -> None:
    with _lock:
        if one in _sessions:
            _sessions.remove(one)
            if not _sessions:
                _release_door()


def _hold_door() -> None:
    module = sys.modules.get(_DOOR)
    if module is not None and hasattr(module, "compile_fx"):
        _hold(module)
    elif not any(isinstance(finder, _Awaiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Awaiting())


def _hold(module: Any) -> None:
    global _held
    stock = module.compile_fx

    @functools.wraps(stock)
    def compile_fx(*args: Any, **kwargs: Any) -> Any:
        with _lock:
            latest = _sessions[-1] if _sessions else None
        return (stock if latest is None else covering(latest, stock))(*args, **kwargs)

    module.compile_fx, _held = compile_fx, _Held(module, compile_fx, stock)


def _release_door() -> None:
    global _held
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Awaiting)]
    # where somebody has wrapped it again, ours stays inside and lets everything pass
    if _held is not None and _held.module.compile_fx is _held.ours:
        _held.module.compile_fx = _held.stock
    _held = None


class _Awaiting(importlib.abc.MetaPathFinder):
    """Holds the door as soon as Inductor is imported, which takes seconds and is not for us to start."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != _DOOR:
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def then_hold(module: Any) -> None:
                execute(module)
                with _lock:
                    if _sessions:
                        _hold(module)

            spec.loader.exec_module = then_hold  # type: ignore[method-assign]
        return spec
