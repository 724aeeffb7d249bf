"""How an operand of a product lies in memory, as a problem names it."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

MAX_ALIGNMENT = 16  # elements; beyond it no load gets wider


def stored(sizes: Sequence[int], strides: Sequence[int], offset: int) -> tuple[bool, int]:
    """Whether an operand [(batch,) rows, columns] is stored transposed, and its alignment in elements.

    sizes, strides, offset: in elements. The rule is ATen's: one dimension must be contiguous and the other's pitch at
    least its length, or the operand is first copied to a row-major one; Inductor asks the same of the strides. A vector
    is read along its length, and a pitch over which nothing steps counts as that length. The alignment is the largest
    power of two, up to 16, that divides the pitch, the batch stride and the offset into the storage.
    """
    rows, columns = sizes[-2:]
    row_stride, column_stride = strides[-2:]
    row_major = (column_stride == 1 or columns == 1) and (row_stride >= columns or rows == 1)
    column_major = (row_stride == 1 or rows == 1) and (column_stride >= rows or columns == 1)
    if not row_major and not column_major:
        return False, gcd(MAX_ALIGNMENT, columns)
    transposed = column_major and not (row_major and columns >= rows)
    pitch, length, lines = (column_stride, rows, columns) if transposed else (row_stride, columns, rows)
    batch_stride = strides[0] if len(sizes) == 3 and sizes[0] > 1 else 0
    return transposed, gcd(MAX_ALIGNMENT, pitch if lines > 1 else length, batch_stride, offset)
