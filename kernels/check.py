"""What a result is checked with: `reference` computes it plainly, `compare` looks at every element.

The product here shares nothing with that of the families: strides, 64-bit offsets, masks everywhere, no tensor cores
for floats. Only the epilogue is theirs, so that finished results are compared.
"""

import triton
import triton.language as tl

from .epilogue import finish


@triton.jit
def plain_product(
    accumulator,
    a,
    b,
    rows,
    columns,
    m,
    n,
    k,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    BLOCK_K: tl.constexpr,
):
    """Adds A[rows] @ B[:, columns] to the accumulator: IEEE products of float32, exact ones of int8."""
    for k_first in range(0, k, BLOCK_K):
        k_index = k_first + tl.arange(0, BLOCK_K).to(tl.int64)
        a_mask = (rows < m)[:, None] & (k_index < k)[None, :]
        b_mask = (k_index < k)[:, None] & (columns < n)[None, :]
        a_tile = tl.load(a + rows[:, None] * a_row_stride + k_index[None, :] * a_k_stride, mask=a_mask, other=0.0)
        b_tile = tl.load(b + k_index[:, None] * b_k_stride + columns[None, :] * b_column_stride, mask=b_mask, other=0.0)
        if accumulator.dtype == tl.int32:
            accumulator = tl.dot(a_tile, b_tile, accumulator, out_dtype=tl.int32)
        else:
            a_tile, b_tile = a_tile.to(tl.float32), b_tile.to(tl.float32)
            accumulator = tl.dot(a_tile, b_tile, accumulator, input_precision="ieee", out_dtype=tl.float32)
    return accumulator


@triton.jit
def reference(
    a,
    b,
    a2,
    b2,
    expected,
    bias,
    residual,
    scale_a,
    scale_b,
    m,
    n,
    k,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    a_batch_stride,
    b_batch_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    TWO_PRODUCTS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    SCALING: tl.constexpr,
    BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    """expected[batch] = epilogue(A[batch] @ B[batch] (+ A2[batch] @ B2[batch])) on a grid of (tiles of all matrices).

    `expected` is contiguous (batch, m, n) of float32 or int32, as the epilogue leaves it: nothing is rounded to the
    result's dtype. The residual is contiguous too. Strides are elements; a2 and b2 lie as a and b do.
    """
    tiles_n = tl.cdiv(n, BLOCK_N)
    tiles = tl.cdiv(m, BLOCK_M) * tiles_n
    matrix = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    rows = (tile // tiles_n).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = (tile % tiles_n).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    a += matrix * a_batch_stride
    b += matrix * b_batch_stride
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
    accumulator = plain_product(
        accumulator,
        a,
        b,
        rows,
        columns,
        m,
        n,
        k,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
    )
    if TWO_PRODUCTS:
        accumulator = plain_product(
            accumulator,
            a2 + matrix * a_batch_stride,
            b2 + matrix * b_batch_stride,
            rows,
            columns,
            m,
            n,
            k,
            a_row_stride,
            a_k_stride,
            b_k_stride,
            b_column_stride,
            BLOCK_K,
        )
    places = (matrix * m + rows[:, None]) * n + columns[None, :]
    result = finish(
        accumulator,
        bias,
        residual,
        scale_a,
        scale_b,
        rows,
        columns,
        places,
        m,
        n,
        SCALING,
        BIAS,
        ACTIVATION,
        RESIDUAL,
    )
    tl.store(expected + places, result, mask=(rows < m)[:, None] & (columns < n)[None, :])


@triton.jit
def compare(c, expected, verdict, count, absolute, relative, BLOCK: tl.constexpr):
    """Adds to verdict[0] the elements of c that are wrong; raises verdict[1] to the largest error, as float32 bits.

    c and expected: `count` elements each, in the same order. Wrong is what lies further from its expected value than
    absolute + relative * |expected|, and every NaN, whose error is infinite; of integers, what differs at all. The two
    tolerances are the bits of float32 numbers, as launch parameters are integers. verdict: two int32, zero before. One
    atomic of each kind per CTA, on a grid of blocks.
    """
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = places < count
    got = tl.load(c + places, mask=mask, other=0)
    want = tl.load(expected + places, mask=mask, other=0)
    if expected.dtype.element_ty == tl.int32:
        error = tl.abs(got.to(tl.int64) - want.to(tl.int64)).to(tl.float32)
        right = got == want
    else:
        error = tl.abs(got.to(tl.float32) - want)
        error = tl.where(error == error, error, float("inf"))
        allowed = absolute.to(tl.float32, bitcast=True) + relative.to(tl.float32, bitcast=True) * tl.abs(want)
        right = error <= allowed
    wrong = tl.sum((mask & (right == 0)).to(tl.int32), axis=0)
    largest = tl.max(tl.where(mask, error, 0.0), axis=0)
    if wrong > 0:
        tl.atomic_add(verdict, wrong)
    tl.atomic_max(verdict + 1, largest.to(tl.int32, bitcast=True))  # bits of what is not negative order as it does
