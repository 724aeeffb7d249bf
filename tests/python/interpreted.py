"""Runs kernels in Triton's interpreter, on the CPU: a double of a launch, for tests of what kernels compute.

Import it in a process that has TRITON_INTERPRET=1 set before triton is first imported.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder

from gemm_tuner import GemmConfig, GemmProblem
from gemm_tuner.checking import check_grids, check_sources, tolerance
from gemm_tuner.sources import KernelSource, finished_in, grids, kernel_sources, workspace_bytes

Scales = tuple[float, float] | tuple[torch.Tensor, torch.Tensor]

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
    residual: torch.Tensor | None = None,
    scales: Scales = (1.0, 1.0),
    **constants_instead: bool,
) -> torch.Tensor:
    """C of (batch, m, n). a and b are (batch, rows, columns) as stored: transposed where the layout says t.

    constants_instead: compile-time constants to use instead of the problem's own.
    """
    c = torch.full((problem.batch, problem.m, problem.n), 99, dtype=getattr(torch, problem.out_dtype))
    values = {
        **_common_values(problem, a, b, bias, residual, scales),
        "c": c,
        "parts": torch.full((workspace_bytes(problem, config) // 4,), 77, dtype=_accumulator(problem)),
        "batch": problem.batch,
        "a_pitch": a.stride(1),
        "b_pitch": b.stride(1),
        "c_pitch": c.stride(1),
        "c_batch_stride": c.stride(0),
    }
    for source, grid in zip(kernel_sources(problem, config), grids(problem, config), strict=True):
        launch(source, grid, values, constants_instead)
    return c


def verdict_on(
    problem: GemmProblem,
    c: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    scales: Scales = (1.0, 1.0),
    second: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[int, float, torch.Tensor]:
    """Wrong elements of C, the largest error, and what was expected. Operands as in `run`; second: A2 and B2."""
    finished = getattr(torch, finished_in(problem))
    expected = torch.full((problem.batch, problem.m, problem.n), 77, dtype=finished)
    verdict = torch.zeros(2, dtype=torch.int32)
    a_row, a_k = (1, a.stride(1)) if problem.layout[0] == "t" else (a.stride(1), 1)
    b_k, b_column = (1, b.stride(1)) if problem.layout[1] == "t" else (b.stride(1), 1)
    allowed = tolerance(problem)
    a2, b2 = second or (a, b)
    values = {
        **_common_values(problem, a, b, bias, residual, scales),
        "c": c.contiguous(),
        "a2": a2,
        "b2": b2,
        "expected": expected,
        "verdict": verdict,
        "a_row_stride": a_row,
        "a_k_stride": a_k,
        "b_k_stride": b_k,
        "b_column_stride": b_column,
        "count": c.numel(),
        "absolute": struct.unpack("<i", struct.pack("<f", allowed.absolute))[0],
        "relative": struct.unpack("<i", struct.pack("<f", allowed.relative))[0],
    }
    for source, grid in zip(check_sources(problem), check_grids(problem), strict=True):
        launch(source, grid, values)
    return int(verdict[0]), float(verdict[1:].view(torch.float32)), expected


def launch(
    source: KernelSource,
    grid: tuple[int, int, int],
    values: Mapping[str, Any],
    constants_instead: Mapping[str, Any] | None = None,
) -> None:
    """One kernel on the grid; values: its parameters by name."""
    function = getattr(importlib.import_module(f"gemm_tuner.kernels.{source.module}"), source.function)
    constants = {name: getattr(tl, str(v)) if name == "ACCUMULATOR" else v for name, v in source.constants}
    constants.update(constants_instead or {})
    function[grid](*(values[name] for name, _ in source.signature), **constants)


def _common_values(
    problem: GemmProblem,
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    scales: Scales,
) -> dict[str, Any]:
    return {
        "a": a,
        "b": b,
        "bias": bias if bias is not None else a,  # never read where there is none
        "residual": residual if residual is not None else a,  # likewise; contiguous, as C is
        "scale_a": torch.as_tensor(scales[0]),
        "scale_b": torch.as_tensor(scales[1]),
        "m": problem.m,
        "n": problem.n,
        "k": problem.k,
        "a_batch_stride": a.stride(0),
        "b_batch_stride": b.stride(0),
    }


def _accumulator(problem: GemmProblem) -> torch.dtype:
    return torch.int32 if problem.a_dtype == "int8" else torch.float32
