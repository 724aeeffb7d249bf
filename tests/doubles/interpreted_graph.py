"""Runs the code that Inductor wrote for a GPU on the CPU, its kernels in Triton's interpreter: a double of launches.

`python interpreted_graph.py JOB` in a process of its own: Triton reads TRITON_INTERPRET when it is first imported.
JOB holds {"source": the wrapper's text, "inputs": tensors}; {"outputs": tensors} takes its place.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries only in part)
from __future__ import annotations

import contextlib
import inspect
import linecache
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

import numpy as np
import torch
import triton
import triton.language as tl
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.runtime import triton_helpers
from triton.runtime import interpreter

import gemm_tuner as gt
import interpreted  # noqa: F401 - it mends the interpreter's bfloat16
from doubles.interpreted_op import InterpretedRunner
from gemm_tuner import config_op

# Elements along each axis of the kernels that are not GEMMs, which leave their tile to the launch
TILES = {"XBLOCK": 16, "YBLOCK": 16, "ZBLOCK": 1, "R0_BLOCK": 64}
AXES = (("XBLOCK", "xnumel"), ("YBLOCK", "ynumel"), ("ZBLOCK", "znumel"))


_patch_lang_tensor = interpreter._patch_lang_tensor


def _patch_lang_tensor_and_index(tensor: Any, *scope: Any) -> None:
    """Triton 3.6 makes an end of a range of an array with one element, which NumPy no longer takes for a number."""
    _patch_lang_tensor(tensor, *scope)
    tensor.__index__ = lambda self: self.handle.data.item()


_convert_float = interpreter._convert_float


def _round_to_bfloat16(values: Any, source: Any, target: Any, rounding: Any) -> Any:
    """The interpreter cuts float32 off to bfloat16; GPUs round to the nearest, ties to even. NaN aside."""
    if (source, target) != (tl.float32, tl.bfloat16):
        return _convert_float(values, source, target, rounding)
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


_create_masked_store = interpreter.InterpreterBuilder.create_masked_store


def _store_where_true(builder: Any, pointers: Any, values: Any, mask: Any, *how: Any) -> Any:
    """Triton 3.9 makes an integer of a mask that is an index compared with a constant, and then refuses it."""
    mask.data = mask.data.astype(bool)
    return _create_masked_store(builder, pointers, values, mask, *how)


interpreter.InterpreterBuilder.create_masked_store = _store_where_true
interpreter._patch_lang_tensor = _patch_lang_tensor_and_index
interpreter._convert_float = _round_to_bfloat16


def erf(x: Any) -> Any:
    return tl.math.erf(x)


def exp(x: Any) -> Any:
    return tl.exp(x)


def rsqrt(x: Any) -> Any:
    return tl.rsqrt(x)


def sqrt(x: Any) -> Any:
    return tl.sqrt(x)


def tanh(x: Any) -> Any:
    return 2 * tl.sigmoid(2 * x) - 1


# NVIDIA's device library has no code for the CPU. What epilogues take from it, of what Triton has itself.
LIBDEVICE = SimpleNamespace(**{function.__name__: triton.jit(function) for function in (erf, exp, rsqrt, sqrt, tanh)})


class InterpretedKernel:
    """One Triton kernel of the wrapper, called as the wrapper calls it."""

    def __init__(self, name: str, text: str) -> None:
        # Inductor's decorator wants a compiled kernel; what is under it is interpreted
        text = re.sub(r"^@triton_heuristics\.\w+\(\n.*?^\)\n(?=@triton\.jit)", "", text, flags=re.MULTILINE | re.DOTALL)
        file = f"<{name}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # Triton reads its source
        scope: dict[str, Any] = {"__name__": name}
        exec(compile(text, file, "exec"), scope)
        scope["libdevice"] = LIBDEVICE
        self.function = scope[re.findall(r"^def (\w+)\(", text, re.MULTILINE)[-1]]
        parameters = inspect.signature(self.function.fn).parameters
        self.constants = [name for name, each in parameters.items() if "constexpr" in str(each.annotation)]
        self.arguments = [name for name in parameters if name not in self.constants]

    def run(self, *values: Any, stream: int) -> None:
        arguments, grid = values[: len(self.arguments)], values[len(self.arguments) :]
        constants = {name: TILES[name] for name in self.constants}
        if not grid:  # not a GEMM
            sizes = dict(zip(self.arguments, arguments, strict=True))
            grid = tuple(triton.cdiv(sizes.get(size, 1), constants.get(block, 1)) for block, size in AXES)
        self.function[grid](*arguments, **constants)


_runs = config_op.ConfigRuns(device_of=lambda ordinal: gt.device("h100-sxm"), runner_of=InterpretedRunner)


def run_config(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, *, config: str, out: torch.Tensor
) -> torch.Tensor:
    """The op of one config by our kernels, and by nothing else."""
    why = _runs.run(a, b, bias, config, out)
    if why is not None:
        raise AssertionError(why)
    return out


def main(job: Path) -> None:
    library = torch.library.Library("gemm_tuner", "IMPL")
    library.impl("run_config.out", run_config, "CPU")
    guards = torch._C._dynamo.guards
    instead = (
        (guards, "_empty_strided_cuda", vars(guards)["_empty_strided_cpu"]),
        (torch._C, "_cuda_getCurrentRawStream", lambda device: 0),
        (torch.cuda, "_DeviceGuard", lambda device: contextlib.nullcontext()),
        (torch.cuda, "set_device", lambda device: None),
        (triton_helpers, "set_driver_to_gpu", lambda: None),
        (AsyncCompile, "triton", lambda self, name, text, device_str="cuda": InterpretedKernel(name, text)),
    )
    for owner, name, double in instead:
        setattr(owner, name, double)
    given = torch.load(job)
    scope: dict[str, Any] = {"__name__": "wrapper"}
    exec(compile(given["source"], "<wrapper>", "exec"), scope)
    torch.save({"outputs": list(scope["call"](given["inputs"]))}, job)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
