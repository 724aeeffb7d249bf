"""What a compile is for, and its being covered by a session. Imports torch._inductor; whatever fails here is said once,
and the compile goes on without us."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

from .._core import DeviceSpec
from ..devices import local, reported
from ..errors import GemmTunerError
from .session import Session, Target, target

log = logging.getLogger("gemm_tuner")


def aim(session: Session, model: Any, inputs: Any) -> Target | None:
    """The device that the graph is to be tuned for; None where it is not for a GPU, or covered already."""
    try:
        from . import _compat, _compat_choices
        from .choices import Tuned

        gpu = None if isinstance(_compat.current_choices(), Tuned) else _compat.gpu_of(model, inputs)
        if gpu is None:
            return None
        missing = _compat.missing_names(_compat.PRIVATE_NAMES + _compat_choices.PRIVATE_NAMES)
        if missing:
            raise RuntimeError(f"this torch has no {', '.join(missing)}")
        return target(session.options, _device_here(gpu.index))
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost anybody a compile
        _say_once(f"torch.compile goes on without gemm_tuner: {error}")
        return None


def within(session: Session, aim: Target) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a function run covered by the session, in whatever thread and however late it is called."""

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            from .choices import covered

            with covered(session, aim):
                return function(*args, **kwargs)

        return run

    return wrapped


def stock_inner_compile(compile_fx: Callable[..., Any]) -> Any:
    """What compile_fx compiles graphs with, where it is not told."""
    return inspect.signature(compile_fx).parameters["inner_compile"].default


def _device_here(ordinal: int | None) -> DeviceSpec | None:
    """The GPU of that number, by default torch's current one, as the driver tells; where no driver answers, the
    catalogue's of the name that torch tells."""
    import torch

    try:
        return local(torch.cuda.current_device() if ordinal is None else ordinal)
    except GemmTunerError as error:
        if not torch.cuda.is_available():
            return None
        has = torch.cuda.get_device_properties(ordinal)
        known = reported(has.name, 10 * has.major + has.minor, has.multi_processor_count)
        if known is None:
            raise error
        return known


@functools.cache
def _say_once(sentence: str) -> None:
    log.warning("%s", sentence)
