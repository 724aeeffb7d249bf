"""Runs a config's kernels in Triton's interpreter, on the CPU: a double of a launch, for tests of what kernels compute.

Import it in a process that has TRITON_INTERPRET=1 set before triton is first imported.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder

from gemm_tuner import GemmConfig, GemmProblem
from gemm_tuner.sources import grids, kernel_sources

_interpreted_dot = InterpreterBuilder.create_dot


def _dot(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
    """The interpreter keeps bfloat16 as the upper halves of float32 and multiplies them as integers; widen them."""
    for operand in (a, b):
        if operand.dtype.scalar == tl.bfloat16:
            operand.data = (operand.data.astype(np.uint32) << 16).view(np.float32)
            operand.dtype = tl.float32
    return _interpreted_dot(self, a, b, d, *options)


InterpreterBuilder.create_dot = _dot


def run(
    problem: GemmProblem,
    config: GemmConfig,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    scales: tuple[float, float] = (1.0, 1.0),
    **constants_instead: bool,
) -> torch.Tensor:
    """C of (batch, m, n). a and b are (batch, rows, columns) as stored: transposed where the layout says t.

    constants_instead: compile-time constants to use instead of the problem's own.
    """
    c = torch.full((problem.batch, problem.m, problem.n), 99, dtype=getattr(torch, problem.out_dtype))
    accumulator = torch.int32 if problem.a_dtype == "int8" else torch.float32
    values = {
        "a": a,
        "b": b,
        "c": c,
        "bias": bias if bias is not None else c,  # never read where there is none
        "parts": torch.full((problem.batch, config.split_k, problem.m, problem.n), 77, dtype=accumulator),
        "scale_a": torch.tensor([scales[0]]),
        "scale_b": torch.tensor([scales[1]]),
        "m": problem.m,
        "n": problem.n,
        "k": problem.k,
        "a_pitch": a.stride(1),
        "b_pitch": b.stride(1),
        "c_pitch": c.stride(1),
        "a_batch_stride": a.stride(0),
        "b_batch_stride": b.stride(0),
        "c_batch_stride": c.stride(0),
    }
    for source, grid in zip(kernel_sources(problem, config), grids(problem, config), strict=True):
        function = getattr(importlib.import_module(f"gemm_tuner.kernels.{source.module}"), source.function)
        constants = {name: getattr(tl, str(v)) if name == "ACCUMULATOR" else v for name, v in source.constants}
        constants.update(constants_instead)
        function[grid](*(values[name] for name, _ in source.signature), **constants)
    return c
