"""Which GEMMs does this model run?

``with capture() as seen:`` records them; ``capture_script`` and ``capture_model`` are what the command line calls.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from ._core import DeviceSpec, GemmProblem
from .errors import CaptureError, TorchMissingError
from .problems import CountedProblem

logger = logging.getLogger("gemm_tuner")


class Capture:
    """What was seen so far; may be read while the capture goes on.

    ``failure`` is None, or the sentence that says how the captured script or model call ended early.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self._counts: Counter[GemmProblem] = Counter()
        self._skipped: Counter[str] = Counter()
        self._lock = threading.Lock()  # autograd runs each device's backward in a thread of its own

    @property
    def problems(self) -> list[CountedProblem]:
        """The problems in order of first appearance, each with how often it ran."""
        with self._lock:
            return [CountedProblem(problem, count) for problem, count in self._counts.items()]

    @property
    def skipped(self) -> dict[str, int]:
        """Why products were left out (an operator or dtype that is not tuned), and how often."""
        with self._lock:
            return dict(self._skipped)

    def note(self, problem: GemmProblem) -> None:
        """Counts one more run of ``problem``."""
        with self._lock:
            self._counts[problem] += 1

    def skip(self, reason: str) -> None:
        """Counts one more product that was left out for ``reason``."""
        with self._lock:
            self._skipped[reason] += 1

    def __repr__(self) -> str:
        return f"<Capture of {len(self._counts)} problems, {self._counts.total()} runs>"


@contextmanager
def capture() -> Iterator[Capture]:
    """Records the GEMMs that run inside the ``with`` block, forward and backward, in this thread.

    Tensors may be meta, fake, on a CPU or on a GPU. Inside the block ``torch.compile`` leaves functions uncompiled, so
    a compiled model is seen operator by operator. Raises TorchMissingError where PyTorch is not installed.
    """
    require_torch()
    from .recorder import recording

    seen = Capture()
    with recording(seen):
        yield seen


def capture_script(argv: list[str]) -> Capture:
    """Runs ``[python] script.py args...`` or ``[python] -m module args...`` in this process and records its GEMMs.

    A script that fails, exits with a status or is interrupted still gives what was seen until then, and ``failure``.
    Raises CaptureError where there is no such script or module, and TorchMissingError.
    """
    import runpy

    require_torch()
    words = argv[1:] if argv and re.fullmatch(r"python[\d.]*(\.exe)?", Path(argv[0]).name) else list(argv)
    if words[:1] == ["-m"] and len(words) > 1:
        name, directory = words[1], os.getcwd()
        with _started_as(words[1:], directory):
            _require_module(name)
            return _captured(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True), what=name)
    if not words or words[0].startswith("-"):
        found = f"found {words[0]!r}" if words else "found nothing"
        raise CaptureError(
            f"expected 'script.py ...' or '-m module ...' to run, {found}; Python's options are not taken"
        )
    path = Path(words[0])
    if not path.is_file():
        raise CaptureError(f"cannot capture {path}: there is no such file; give a Python script or -m module")
    with _started_as(words, str(path.resolve().parent)):
        return _captured(lambda: runpy.run_path(str(path), run_name="__main__"), what=str(path))


def capture_model(spec: str, *, backward: bool = False, device: DeviceSpec | None = None) -> Capture:
    """Calls the model that ``module:factory`` or ``path/to/file.py:factory`` makes, once, and records its GEMMs.

    The factory takes nothing and returns ``(model, args)`` or ``(model, args, kwargs)``. The model is called under
    ``no_grad``; with ``backward``, with gradients: the output's ``loss`` is differentiated, or else the sum of every
    floating tensor in the output. A call that fails gives what was seen until then, and ``failure``.
    With a device, the model is not run but compiled for it, which takes no GPU and no memory, and what is captured are
    the problems that Inductor asks about, each as often as it is lowered. torch forgets what it has compiled before.
    Raises CaptureError where the factory cannot be found, fails or returns something else, and TorchMissingError.
    """
    require_torch()
    model, args, kwargs = _made_by(spec)
    what = f"the model of {spec}"
    if device is None:
        return _captured(lambda: _call(model, args, kwargs, backward=backward), what=what)
    from .inductor.lowering import lowering, on_meta

    seen = Capture()
    model, args, kwargs = on_meta((model, args, kwargs))
    with lowering(seen, device) as compiled:
        _keep_failure(seen, lambda: _call(compiled(model), args, kwargs, backward=backward), what=what)
    return seen


def require_torch() -> None:
    """Raises TorchMissingError where PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise TorchMissingError("capture watches PyTorch at work, and torch is not installed: pip install torch")


def _captured(run: Callable[[], object], *, what: str) -> Capture:
    with capture() as seen:
        _keep_failure(seen, run, what=what)
    return seen


def _keep_failure(seen: Capture, run: Callable[[], object], *, what: str) -> None:
    try:
        run()
    except SystemExit as stop:
        if stop.code not in (None, 0):
            seen.failure = f"{what} exited with {stop.code!r}"
    except KeyboardInterrupt:
        seen.failure = f"{what} was interrupted"
    except Exception as error:
        seen.failure = f"{what} stopped with {_told(error)}"
        logger.debug("%s stopped", what, exc_info=error)


def _told(error: BaseException) -> str:
    """The error and the last line of the user's own code that it passed through."""
    ours = str(Path(__file__).parent)
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith((ours, "<frozen"))]
    theirs = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    place = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
    said = " ".join(str(error).partition("\n\n")[0].split())  # torch appends paragraphs of advice
    return f"{type(error).__name__}: {said}{place}"


@contextmanager
def _started_as(argv: list[str], directory: str) -> Iterator[None]:
    """sys.argv and sys.path as Python would set them when it starts a script of that directory."""
    argv_before, path_before = sys.argv, list(sys.path)
    sys.argv, sys.path[:0] = list(argv), [directory]
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv_before, path_before


def _require_module(name: str) -> None:
    try:
        found = importlib.util.find_spec(name)
    except Exception as error:  # a parent package may do anything when it is imported
        raise CaptureError(f"cannot capture -m {name}: {_told(error)}") from error
    if found is None:
        raise CaptureError(f"cannot capture -m {name}: there is no module of that name here")


def _made_by(spec: str) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    place, colon, name = spec.rpartition(":")
    if not (place and colon and name):
        raise CaptureError(f"expected module:factory or path/to/file.py:factory, got {spec!r}")
    with _started_as(sys.argv, os.getcwd()):
        factory = getattr(_imported(place), name, None)
        if not callable(factory):
            raise CaptureError(f"cannot capture {spec}: {place} has no function called {name!r}")
        try:
            made = factory()
        except Exception as error:
            raise CaptureError(f"cannot capture {spec}: {name}() stopped with {_told(error)}") from error
    match made:
        case (model, tuple() | list() as args) if callable(model):
            return model, tuple(args), {}
        case (model, tuple() | list() as args, dict() as kwargs) if callable(model):
            return model, tuple(args), kwargs
    form = f"({', '.join(type(part).__name__ for part in made)})" if isinstance(made, tuple) else type(made).__name__
    raise CaptureError(f"{spec} must return (model, args) or (model, args, kwargs), args a tuple; it returned {form}")


def _imported(place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        found = importlib.util.spec_from_file_location(Path(place).stem, place)
        if found is None or found.loader is None or not Path(place).is_file():
            raise CaptureError(f"cannot capture {place}: there is no such file")
        module = importlib.util.module_from_spec(found)
        sys.modules[found.name] = module  # dataclasses and pickle look a module up by its name
        found.loader.exec_module(module)
        return module
    except CaptureError:
        raise
    except Exception as error:
        raise CaptureError(f"cannot import {place}: {_told(error)}") from error


def _call(model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, backward: bool) -> None:
    import torch
    from torch.utils import _pytree

    with torch.set_grad_enabled(backward):
        out = model(*args, **kwargs)
    if not backward:
        return
    loss = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    leaves = _pytree.tree_leaves(out) if loss is None else [loss]
    sums = [leaf.sum() for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    if not sums:
        raise CaptureError("nothing in the model's output requires a gradient, so there is no backward pass to capture")
    torch.autograd.backward(sums)
