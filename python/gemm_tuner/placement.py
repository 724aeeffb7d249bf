"""How the operands of a problem lie in memory when it is timed or rendered. Pure functions over values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ._core import GemmProblem
from .operand import MAX_ALIGNMENT, Stored
from .sources import ELEMENT_BYTES, adds_bias, adds_residual, is_scaled, product_count


class Buffer(NamedTuple):
    """One operand of a launch.

    fill: what it holds before: a dtype (random numbers), zeros, ones_f32 or poison. shared: one will do for all sets of
    operands that launches are timed on in turn.
    """

    name: str
    bytes: int
    fill: str
    shared: bool = False


@dataclass(frozen=True)
class Placement:
    """Where A and B of a problem are, in elements: from row to row as stored, and from matrix to matrix.

    a_strides, b_strides: of A as (batch, m, k) and of B as (batch, k, n). C is contiguous (batch, m, n),
    and so is the residual.
    """

    a_pitch: int
    b_pitch: int
    a_strides: tuple[int, int, int]
    b_strides: tuple[int, int, int]


def placement(problem: GemmProblem) -> Placement:
    """The tightest rows that are aligned as the problem says, no less and no more."""
    a_transposed, b_transposed = (side == "t" for side in problem.layout)
    a_rows, a_length = (problem.k, problem.m) if a_transposed else (problem.m, problem.k)
    b_rows, b_length = (problem.n, problem.k) if b_transposed else (problem.k, problem.n)
    aligned = problem.alignment
    a_pitch, b_pitch = (-(-length // aligned) * aligned for length in (a_length, b_length))
    if aligned < MAX_ALIGNMENT and a_pitch % (2 * aligned) == b_pitch % (2 * aligned) == 0:
        a_pitch, b_pitch = a_pitch + aligned, b_pitch + aligned
    return placed(
        problem,
        Stored(a_transposed, aligned, a_pitch, a_rows * a_pitch),
        Stored(b_transposed, aligned, b_pitch, b_rows * b_pitch),
    )


def placed(problem: GemmProblem, a: Stored, b: Stored) -> Placement:
    """Where a model's own A and B of the problem are."""
    a_transposed, b_transposed = (side == "t" for side in problem.layout)
    return Placement(
        a_pitch=a.pitch,
        b_pitch=b.pitch,
        a_strides=(a.batch_stride, 1, a.pitch) if a_transposed else (a.batch_stride, a.pitch, 1),
        b_strides=(b.batch_stride, 1, b.pitch) if b_transposed else (b.batch_stride, b.pitch, 1),
    )


def scale_counts(problem: GemmProblem) -> tuple[int, int]:
    """Numbers that scale_a and scale_b hold in a scaled_mm."""
    return (problem.m, problem.n) if problem.scaling == "row" else (1, 1)


def operands_of(problem: GemmProblem, *, parts_bytes: int = 0) -> tuple[Buffer, ...]:
    """Everything that launches of the problem read and write, in bytes, with what it holds before.

    parts_bytes: the largest `sources.workspace_bytes` of the candidates, which share `parts`. The addend of addmm and
    baddbmm is one row of n, as a Linear's bias is: problems do not say what it is. `expected` and `verdict` are what
    checking the result needs.
    """
    place = placement(problem)
    a_bytes = problem.batch * place.a_strides[0] * ELEMENT_BYTES[problem.a_dtype]
    b_bytes = problem.batch * place.b_strides[0] * ELEMENT_BYTES[problem.b_dtype]
    elements = problem.batch * problem.m * problem.n
    out_bytes = ELEMENT_BYTES[problem.out_dtype]
    buffers = [Buffer("a", a_bytes, problem.a_dtype), Buffer("b", b_bytes, problem.b_dtype)]
    if product_count(problem) == 2:
        buffers += [Buffer("a2", a_bytes, problem.a_dtype), Buffer("b2", b_bytes, problem.b_dtype)]
    if adds_bias(problem):
        buffers.append(Buffer("bias", problem.n * out_bytes, problem.out_dtype))
    if adds_residual(problem):
        buffers.append(Buffer("residual", elements * out_bytes, problem.out_dtype))
    if is_scaled(problem):
        of_a, of_b = scale_counts(problem)
        fill = "float32" if problem.scaling == "row" else "ones_f32"
        buffers += [Buffer("scale_a", 4 * of_a, fill), Buffer("scale_b", 4 * of_b, fill)]
    buffers.append(Buffer("c", elements * out_bytes, "poison"))
    if parts_bytes > 0:
        # as in a model the sum finds them where the product has just left them
        buffers.append(Buffer("parts", parts_bytes, "poison", shared=True))
    checked = Buffer("expected", elements * 4, "poison", shared=True), Buffer("verdict", 8, "zeros", shared=True)
    return (*buffers, *checked)
