"""The ops' hot path: operators in C++ that launch what is known of a call and give None of any other. Imports torch.

They are the ops as far as these can go without asking anybody: no gradient, no autocast, no transform. What they know
they were told by `learn`, under a key that has the call's sizes, strides, dtypes, alignment and mode. docs/launch.md.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries of operators only in part)
from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from ._core import NativeOp
from .arguments import ACTIVATIONS
from .in_use import RecordsInUse
from .ready import Ready
from .recorder import dtype_word, precision_of
from .running import ReadyRunner

log = logging.getLogger("gemm_tuner")

_MANY_ANSWERS = 4096  # shapes that grow step by step would fill the memory
# of a mode: what float products are followed by, then the result of the quantised ones
_ACTIVATION_CODES = {word: code for code, word in enumerate(ACTIVATIONS)}
_UNKNOWN = len(ACTIVATIONS)
_KINDS = {dtype: 32 + code for code, dtype in enumerate((torch.int32, torch.float16, torch.bfloat16, torch.float32))}
_KIND_BITS = 6

# what their calls are known by, beside the mode; they give nothing where they know nothing of a call
_ARGUMENTS = {
    "launch": "Tensor a, Tensor b, int mode",
    "launch_fused": "Tensor a, Tensor b, Tensor? bias, Tensor? residual, int mode",
    "launch_scaled": "Tensor a, Tensor b, Tensor scale_a, Tensor scale_b, Tensor? bias, int mode",
}
_LETTERS = {"Tensor": "T", "Tensor?": "t", "int": "i"}

_library = torch.library.Library("gemm_tuner", "FRAGMENT")
for _name, _arguments in _ARGUMENTS.items():
    _library.define(f"{_name}({_arguments}) -> Tensor?")
    _library.impl(_name, torch.library.fallthrough_kernel, "Autograd")
    _library.impl(_name, lambda *arguments: None, "CompositeExplicitAutograd")  # whatever else there is: not known


class Operator:
    """One of them, for one of torch's dispatch keys. call: it, which gives a result or None."""

    def __init__(self, name: str, key: str) -> None:
        words = [each.split() for each in _ARGUMENTS[name].split(", ")]
        libraries = Path(torch.__file__).parent / "lib"
        self.call: Any = getattr(torch.ops.gemm_tuner, name).default
        self._places = {argument: place for place, (_, argument) in enumerate(words)}
        self._native = NativeOp(
            namespace="gemm_tuner",
            name=name,
            key=key,
            arguments="".join(_LETTERS[kind] for kind, _ in words),
            libtorch_cpu=str(libraries / "libtorch_cpu.so"),
            libtorch_cuda=str(libraries / "libtorch_cuda.so") if key == "CUDA" else None,
        )

    def missed(self) -> list[int] | None:
        """The key of this thread's last call, if it was not known; None where it was, be it as one without a kernel."""
        return self._native.missed()

    def learn(
        self, key: list[int], ready: Ready | None, operands: Mapping[str, torch.Tensor], *, aten: str | None = None
    ) -> None:
        """From now on calls of that key, which have such operands, launch what is ready for them.

        Where nothing is, they are handed on to `aten`, which takes A and B alone, or known to have no kernel.
        What needs copies, or a runner of another kind, stays unknown: it is not to be done in C++.
        """
        if len(self) >= _MANY_ANSWERS:
            self.clear()
        if ready is None and aten is not None:
            self._native.hand_on(key, aten, [0, 1])
        elif ready is None:
            self._native.leave(key)
        elif isinstance(ready.runner, ReadyRunner) and ready.takes_as_they_are(operands):
            kernel, scratch = ready.runner.kernel, ready.runner.scratch_bytes
            origins: dict[str, Any] = {name: ((size,), "uint8") for name, size in scratch.items()}
            origins |= {name: self._places[name] for name in operands} | {"c": (ready.sizes, dtype_word(ready.dtype))}
            self._native.launch(key, kernel, operands={name: origins[name] for name in kernel.operands}, result="c")

    def __len__(self) -> int:
        return len(self._native)

    def clear(self) -> None:
        """Forgets all it knows."""
        self._native.clear()


class HotPath:
    """The operators, for one of torch's dispatch keys. Raises RuntimeError where torch cannot have them."""

    def __init__(self, key: str = "CUDA") -> None:
        self.device_type = key.lower()
        self.is_for = attrgetter(f"is_{self.device_type}")  # of a tensor; its device takes longer to tell
        self.plain, self.fused, self.scaled = (Operator(name, key) for name in _ARGUMENTS)

    @property
    def size(self) -> int:
        """How many kinds of calls are known."""
        return len(self.plain) + len(self.fused) + len(self.scaled)

    def quantized(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        scales: Sequence[torch.Tensor],
        bias: torch.Tensor | None,
        mode: int,
    ) -> torch.Tensor | None:
        """a @ b * scales + bias, where what to launch is known."""
        out: torch.Tensor | None = (
            self.scaled.call(a, b, *scales, bias, mode) if scales else self.plain.call(a, b, mode)
        )
        return out


def mode_of(current: RecordsInUse, dtype: torch.dtype, activation: str) -> int:
    """What a product depends on beside its operands, as a number: the records in use, the precision of float32 and the
    activation; an unknown one is like no other."""
    precise = dtype is not torch.float32 or precision_of(dtype) != "tf32"
    return current.number << _KIND_BITS | _ACTIVATION_CODES.get(activation, _UNKNOWN) << 1 | precise


def quantized_mode_of(current: RecordsInUse, out_dtype: torch.dtype) -> int:
    """The same of a product of integers or float8, whose kind is the dtype of the result."""
    return current.number << _KIND_BITS | _KINDS.get(out_dtype, 63)


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
