"""What every family shares: which tile a program computes, the product that fills it, and how it leaves."""

import triton
import triton.language as tl

from .epilogue import finish


@triton.jit
def grouped_tile(program, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """(row, column) of the program's tile: GROUP_M tiles down, then one to the right, so that B is read from L2."""
    tiles_m = tl.cdiv(m, BLOCK_M)
    tiles_n = tl.cdiv(n, BLOCK_N)
    first_m = program // (GROUP_M * tiles_n) * GROUP_M
    height = tl.minimum(tiles_m - first_m, GROUP_M)  # the last group may be short
    within = program % (GROUP_M * tiles_n)
    return first_m + within % height, within // height


@triton.jit
def load_tile(pointers, inner, extent, k_left, steps, MASK_K: tl.constexpr, MASK_EDGE: tl.constexpr):
    """One operand tile; `steps` are its offsets along k, `inner` its offsets along m or n."""
    if MASK_K and MASK_EDGE:
        return tl.load(pointers, mask=(steps < k_left) & (inner < extent), other=0.0)
    if MASK_K:
        return tl.load(pointers, mask=steps < k_left, other=0.0)
    if MASK_EDGE:
        return tl.load(pointers, mask=inner < extent, other=0.0)
    return tl.load(pointers)


@triton.jit
def tile_product(
    a,
    b,
    rows,
    columns,
    m,
    n,
    k,
    k_first,
    k_last,
    a_pitch,
    b_pitch,
    BLOCK_K: tl.constexpr,
    A_TRANSPOSED: tl.constexpr,
    B_TRANSPOSED: tl.constexpr,
    EVEN_M: tl.constexpr,
    EVEN_N: tl.constexpr,
    EVEN_K: tl.constexpr,
    INDEX64: tl.constexpr,
    PRECISION: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
):
    """A[rows, k_first:k_last] @ B[k_first:k_last, columns]; k_first is a multiple of BLOCK_K, so is k_last or it is k.

    Rows and columns beyond the edge are never stored. Where memory runs along k they are read from the last one
    inside, which needs no mask; where it runs along them, a mask keeps the loads wide.
    """
    steps = tl.arange(0, BLOCK_K)
    k_index = k_first + steps
    if INDEX64:
        rows = rows.to(tl.int64)
        columns = columns.to(tl.int64)
        k_index = k_index.to(tl.int64)
        a_pitch = a_pitch.to(tl.int64)
        b_pitch = b_pitch.to(tl.int64)
    if A_TRANSPOSED:
        a_pointers = a + k_index[None, :] * a_pitch + rows[:, None]
        a_step = BLOCK_K * a_pitch
    else:
        a_pointers = a + tl.minimum(rows, m - 1)[:, None] * a_pitch + k_index[None, :]
        a_step = BLOCK_K
    if B_TRANSPOSED:
        b_pointers = b + tl.minimum(columns, n - 1)[None, :] * b_pitch + k_index[:, None]
        b_step = BLOCK_K
    else:
        b_pointers = b + k_index[:, None] * b_pitch + columns[None, :]
        b_step = BLOCK_K * b_pitch
    accumulator = tl.zeros((rows.shape[0], columns.shape[0]), dtype=ACCUMULATOR)
    for k_done in range(k_first, k_last, BLOCK_K):
        a_tile = load_tile(
            a_pointers, rows[:, None], m, k - k_done, steps[None, :], not EVEN_K, A_TRANSPOSED and not EVEN_M
        )
        b_tile = load_tile(
            b_pointers, columns[None, :], n, k - k_done, steps[:, None], not EVEN_K, not B_TRANSPOSED and not EVEN_N
        )
        accumulator = tl.dot(a_tile, b_tile, accumulator, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        a_pointers += a_step
        b_pointers += b_step
    return accumulator


@triton.jit
def store_tile(
    accumulator,
    c,
    bias,
    residual,
    scale_a,
    scale_b,
    matrix,
    rows,
    columns,
    m,
    n,
    c_pitch,
    c_batch_stride,
    INDEX64: tl.constexpr,
    SCALING: tl.constexpr,
    BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    """C[matrix, rows, columns] = epilogue(accumulator), as far as it lies inside. The residual lies as C does."""
    if INDEX64:
        rows = rows.to(tl.int64)
    places = rows[:, None] * c_pitch + columns[None, :]
    result = finish(
        accumulator,
        bias,
        residual + matrix * c_batch_stride,
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
    pointers = c + matrix * c_batch_stride + places
    tl.store(pointers, result.to(c.dtype.element_ty), mask=(rows < m)[:, None] & (columns < n)[None, :])
