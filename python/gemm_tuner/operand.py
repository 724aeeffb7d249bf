"""Two operands as they lie in memory, and the problem that their product is. Knows sizes and words, no tensors."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

from ._core import GemmProblem

MAX_ALIGNMENT = 16  # elements; beyond it no load gets wider


class Stored(NamedTuple):
    """How a product reads an operand. pitch: elements from row to row as stored; batch_stride: from matrix to matrix.

    alignment: in elements. is_copied: no layout describes it as it lies, and it is first copied to a row-major one.
    """

    transposed: bool
    alignment: int
    pitch: int
    batch_stride: int
    is_copied: bool = False


class Operand(NamedTuple):
    """One operand, [(batch,) rows, columns]. sizes, strides, offset: in elements. dtype: as problems write it."""

    sizes: Sequence[int]
    strides: Sequence[int]
    offset: int
    dtype: str

    def stored(self) -> Stored:
        """Whether it is stored transposed, how far apart its rows are, and its alignment.

        The rule is ATen's: one dimension must be contiguous and the other's pitch at least its length, or the operand
        is first copied to a row-major one; Inductor asks the same of the strides. A vector is read along its length,
        and a pitch over which nothing steps counts as that length. The alignment is the largest power of two, up to 16,
        that divides the pitch, the batch stride and the offset into the storage.
        """
        rows, columns = self.sizes[-2:]
        row_stride, column_stride = self.strides[-2:]
        row_major = (column_stride == 1 or columns == 1) and (row_stride >= columns or rows == 1)
        column_major = (row_stride == 1 or rows == 1) and (column_stride >= rows or columns == 1)
        if not row_major and not column_major:
            return Stored(False, gcd(MAX_ALIGNMENT, columns), columns, rows * columns, is_copied=True)
        transposed = column_major and not (row_major and columns >= rows)
        pitch, length, lines = (column_stride, rows, columns) if transposed else (row_stride, columns, rows)
        batch_stride = self.strides[0] if len(self.sizes) == 3 and self.sizes[0] > 1 else 0
        pitch = pitch if lines > 1 else length
        return Stored(transposed, gcd(MAX_ALIGNMENT, pitch, batch_stride, self.offset), pitch, batch_stride)


def scaling_of(scales: tuple[int, int], *, rows: int, columns: int) -> str:
    """The scaling that so many scales of A and B stand for.

    Raises ValueError where it is neither by tensor nor by row.
    """
    if scales == (1, 1):
        return "tensor"
    if scales == (rows, columns):
        return "row"
    raise ValueError(
        f"{scales[0]} and {scales[1]} scales are neither one for each operand nor one for each of {rows} rows of A and "
        f"{columns} columns of B"
    )


def product_of(
    op: str,
    a: Operand,
    b: Operand,
    *,
    out_dtype: str,
    precision: str,
    scales: tuple[int, int] = (1, 1),
    epilogue: str = "none",
) -> GemmProblem:
    """The product of ``a`` [(batch,) m, k] and ``b`` [(batch,) k, n]. scales: how many each of them comes with.

    Raises ValueError where no GemmProblem describes it: a dtype that is not tuned, a size beyond 2**31 - 1, an empty
    dimension, scales of blocks.
    """
    a_stored, b_stored = a.stored(), b.stored()
    return GemmProblem(
        op=op,
        m=a.sizes[-2],
        n=b.sizes[-1],
        k=a.sizes[-1],
        batch=a.sizes[0] if len(a.sizes) == 3 else 1,
        a_dtype=a.dtype,
        b_dtype=b.dtype,
        out_dtype=out_dtype,
        precision=precision,
        scaling=scaling_of(scales, rows=a.sizes[-2], columns=b.sizes[-1]),
        layout=("t" if a_stored.transposed else "n") + ("t" if b_stored.transposed else "n"),
        alignment=min(a_stored.alignment, b_stored.alignment),
        epilogue=epilogue,
    )
