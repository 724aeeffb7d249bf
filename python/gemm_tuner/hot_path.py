"""The op's hot path: two operators in C++ that launch what is known of a call and say None of any other. Imports torch.

They are the op as far as it can go without asking anybody: no gradient, no autocast, no transform. What they know they
were told by `learn`, under a key that has the call's sizes, strides, dtypes, alignment and mode. docs/launch.md.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries of operators only in part)
from __future__ import annotations

import functools
import logging
import operator
from pathlib import Path
from typing import Any

import torch

from ._core import NativeOp
from .in_use import RecordsInUse
from .ready import Ready
from .recorder import dtype_word, precision_of
from .running import ReadyRunner

log = logging.getLogger("gemm_tuner")

_MANY_ANSWERS = 4096  # shapes that grow step by step would fill the memory

_library = torch.library.Library("gemm_tuner", "FRAGMENT")
_library.define("launch(Tensor a, Tensor b, int mode) -> Tensor?")
_library.define("launch_fused(Tensor a, Tensor b, Tensor? bias, str activation, int mode) -> Tensor?")
for _name in ("launch", "launch_fused"):
    _library.impl(_name, torch.library.fallthrough_kernel, "Autograd")
    _library.impl(_name, lambda *arguments: None, "CompositeExplicitAutograd")  # whatever else there is: not known


class HotPath:
    """Both operators, for one of torch's dispatch keys. Raises RuntimeError where torch cannot have them."""

    def __init__(self, key: str = "CUDA") -> None:
        libraries = Path(torch.__file__).parent / "lib"
        make = functools.partial(
            NativeOp,
            namespace="gemm_tuner",
            key=key,
            libtorch_cpu=str(libraries / "libtorch_cpu.so"),
            libtorch_cuda=str(libraries / "libtorch_cuda.so") if key == "CUDA" else None,
        )
        self.device_type = key.lower()
        self.is_for = operator.attrgetter(f"is_{self.device_type}")  # of a tensor; its device takes longer to tell
        self._plain = make(name="launch", arguments="TTi")
        self._fused = make(name="launch_fused", arguments="TTtsi")
        self._launch: Any = torch.ops.gemm_tuner.launch.default
        self._launch_fused: Any = torch.ops.gemm_tuner.launch_fused.default

    def launch(
        self, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str, mode: int
    ) -> torch.Tensor | None:
        """The result, where what to launch is known."""
        out: torch.Tensor | None
        if bias is None and activation == "none":
            out = self._launch(a, b, mode)
        else:
            out = self._launch_fused(a, b, bias, activation, mode)
        return out

    def missed(self, bias: torch.Tensor | None, activation: str) -> list[int] | None:
        """The key of the call that this thread's `launch` has just not known; None where it knew there is no kernel."""
        return self._operator(bias, activation).missed()

    def learn(
        self,
        key: list[int],
        ready: Ready | None,
        a: torch.Tensor,
        b: torch.Tensor,
        bias: torch.Tensor | None,
        word: str,
    ) -> None:
        """From now on `launch` knows what to do about calls like this one, of the activation `word`: None for ATen's.

        What needs copies, or a runner of another kind, stays unknown: it is not to be done in C++.
        """
        native = self._operator(bias, word)
        if len(native) >= _MANY_ANSWERS:
            native.clear()
        if ready is None and native is self._plain:
            native.hand_on(key, "aten::mm" if a.dim() == 2 else "aten::bmm", [0, 1])
        elif ready is None:
            native.leave(key)
        elif isinstance(ready.runner, ReadyRunner) and ready.takes_as_they_are(a, b, bias):
            origins: dict[str, Any] = {"a": 0, "b": 1, "bias": 2, "c": (ready.sizes, dtype_word(a.dtype))}
            for name, size in ready.runner.scratch_bytes.items():
                origins[name] = ((size,), "uint8")
            kernel = ready.runner.kernel
            native.launch(key, kernel, operands={name: origins[name] for name in kernel.operands}, result="c")

    @property
    def size(self) -> int:
        """How many kinds of calls it knows."""
        return len(self._plain) + len(self._fused)

    def clear(self) -> None:
        """Forgets all it knows."""
        self._plain.clear()
        self._fused.clear()

    def _operator(self, bias: torch.Tensor | None, activation: str) -> NativeOp:
        return self._plain if bias is None and activation == "none" else self._fused


def mode_of(current: RecordsInUse, dtype: torch.dtype) -> int:
    """What a call depends on beside its operands, as a number: the records in use, and the precision of float32."""
    return current.number << 1 | (precision_of(dtype) == "tf32")


@functools.cache
def hot_path() -> HotPath | None:
    """That of CUDA tensors; None where this torch has no CUDA, or its C interface is not as we know it."""
    if torch.version.cuda is None:
        return None
    try:
        return HotPath()
    except (RuntimeError, ValueError) as error:
        log.warning("products are launched by way of Python, which takes longer: %s", error)
        return None
