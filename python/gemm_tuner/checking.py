"""With which kernels a result is checked, and how far from its reference it may lie. Pure functions over values."""

from __future__ import annotations

import math
from typing import NamedTuple

from ._core import GemmProblem
from .sources import (
    TRITON_TYPE,
    Constant,
    KernelSource,
    accumulator_of,
    adds_residual,
    epilogue_constants,
    finished_in,
    product_count,
    require_epilogue,
)

_REFERENCE_TILE = {"BLOCK_M": 64, "BLOCK_N": 64}
_REFERENCE_BLOCK_K = {"float32": 16, "int32": 32}  # on the CUDA cores a step's operands stand in registers
_COMPARED = 4096  # elements that a CTA compares
_WARPS = 4

# Relative spacing of the dtype's numbers: the largest error of a rounding is half of it.
_SPACING = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float8_e4m3fn": 2**-3, "float8_e5m2": 2**-2}
_PEAK = 4  # standard deviations that partial sums and errors reach among millions of elements


class Tolerance(NamedTuple):
    """A result may differ from its reference by absolute + relative * |reference|."""

    absolute: float
    relative: float


def tolerance(problem: GemmProblem) -> Tolerance:
    """What right kernels may be off, for random operands between -1 and 1; nothing where the result is int32.

    It follows from the standard deviation of a result, at most sqrt(k) / 3 (a uniform operand's variance is 1/3):

    - the result is rounded once to its dtype. One spacing of it, twice what a rounding costs, leaves room for the
      rounding of an epilogue that is computed in that dtype, and for activations, whose slope stays below 1.13. What a
      residual is added to may be larger than the result by the residual, and its rounding by as much.
    - accumulation. Tensor cores cut off each addition of a step of 16 along k to float32, towards zero, so that
      errors add up; an error is at most 2**-23 of the partial sum. Those for float8 keep 13 bits behind the point
      in steps of 32 on Ada and Hopper. CUDA cores round k times with random sign, which sqrt(k) covers.
    - int8 is added up exactly, of numbers between -8 and 8, whose variance is 24, and then scaled in float32.
    - TF32 cuts each operand off to 10 bits: products lose up to 2**-9, one half of it in common, the rest at random.

    A dropped step along k is off by sqrt(block_k) / 3 in one standard deviation, which is far beyond the sum.
    """
    if finished_in(problem) == "int32":
        return Tolerance(0.0, 0.0)
    k = problem.k * product_count(problem)
    deviation = math.sqrt(k) / 3
    if problem.a_dtype == "int8":
        deviation, cut_off = 24 * math.sqrt(k), 2**-23
    elif problem.a_dtype.startswith("float8"):
        cut_off = 2**-13 * (k / 32 + 1)
    else:
        cut_off = 2**-23 * (k / 16 + math.sqrt(k))
    absolute, relative = _PEAK * deviation * cut_off, _SPACING[problem.out_dtype]
    if adds_residual(problem):
        absolute += relative / 2
    if problem.precision == "tf32":
        absolute, relative = absolute + _PEAK * 2**-9 * deviation / math.sqrt(3), relative + 2**-9
    return Tolerance(absolute + 2**-14 * relative, relative)  # where results are near zero their spacing ends


def check_sources(problem: GemmProblem) -> tuple[KernelSource, KernelSource]:
    """The kernel that computes `expected` from the operands, and the one that compares C with it.

    Sizes and strides are launch parameters of which nothing is promised, so that few kernels serve all problems.
    Raises ValueError where no kernel of this package ends a product as the problem asks.
    """
    require_epilogue(problem)
    out, finished = TRITON_TYPE[problem.out_dtype], TRITON_TYPE[finished_in(problem)]
    a, b = TRITON_TYPE[problem.a_dtype], TRITON_TYPE[problem.b_dtype]
    pointers = {"a": a, "b": b, "a2": a, "b2": b, "expected": finished, "bias": out, "residual": out}
    pointers |= {"scale_a": "fp32", "scale_b": "fp32"}
    strides = ("a_row_stride", "a_k_stride", "b_k_stride", "b_column_stride", "a_batch_stride", "b_batch_stride")
    constants: dict[str, Constant] = {
        **_REFERENCE_TILE,
        "BLOCK_K": _REFERENCE_BLOCK_K[accumulator_of(problem)],
        "TWO_PRODUCTS": product_count(problem) == 2,
        "ACCUMULATOR": accumulator_of(problem),
        **epilogue_constants(problem),
    }
    reference = KernelSource(
        module="check",
        function="reference",
        signature=(
            *((name, "*" + dtype) for name, dtype in pointers.items()),
            *((name, "i32") for name in ("m", "n", "k")),
            *((name, "i64") for name in strides),
        ),
        constants=tuple(constants.items()),
        divisible_by=(),
        num_warps=_WARPS,
        num_stages=1,
    )
    compare = KernelSource(
        module="check",
        function="compare",
        signature=(
            ("c", "*" + out),
            ("expected", "*" + finished),
            ("verdict", "*i32"),
            ("count", "i64"),
            ("absolute", "i32"),
            ("relative", "i32"),
        ),
        constants=(("BLOCK", _COMPARED),),
        divisible_by=(("c", 16), ("expected", 16)),
        num_warps=_WARPS,
        num_stages=1,
    )
    return reference, compare


def check_grids(problem: GemmProblem) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The launch grids of `check_sources`, in CTAs."""
    tiles = math.prod(
        -(-size // block) for size, block in zip((problem.m, problem.n), _REFERENCE_TILE.values(), strict=True)
    )
    return (tiles * problem.batch, 1, 1), (-(-problem.batch * problem.m * problem.n // _COMPARED), 1, 1)
