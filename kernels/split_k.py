"""Family `split_k`: SPLIT_K CTAs share an output tile, each with a part of k; a second kernel adds the parts in order.

No atomics: the same inputs give the same bits, run after run.
"""

import triton
import triton.language as tl

from .tile import grouped_tile, store_tile, tile_product


@triton.jit
def split_k(
    a,
    b,
    parts,
    m,
    n,
    k,
    a_pitch,
    b_pitch,
    a_batch_stride,
    b_batch_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    SPLIT_K: tl.constexpr,
    A_TRANSPOSED: tl.constexpr,
    B_TRANSPOSED: tl.constexpr,
    EVEN_M: tl.constexpr,
    EVEN_N: tl.constexpr,
    EVEN_K: tl.constexpr,
    INDEX64: tl.constexpr,
    PRECISION: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
):
    """parts[batch, part] = A[batch] @ B[batch] over that part of k, on a grid of (tiles, batch, SPLIT_K).

    `parts` is contiguous (batch, SPLIT_K, m, n) of the accumulator's type. A part past the end of k is zero.
    """
    tile_m, tile_n = grouped_tile(tl.program_id(0), m, n, BLOCK_M, BLOCK_N, GROUP_M)
    matrix = tl.program_id(1).to(tl.int64)
    part = tl.program_id(2)
    steps_per_part = tl.cdiv(tl.cdiv(k, BLOCK_K), SPLIT_K)
    k_first = part * steps_per_part * BLOCK_K
    rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    accumulator = tile_product(
        a + matrix * a_batch_stride,
        b + matrix * b_batch_stride,
        rows,
        columns,
        m,
        n,
        k,
        k_first,
        tl.minimum(k_first + steps_per_part * BLOCK_K, k),
        a_pitch,
        b_pitch,
        BLOCK_K,
        A_TRANSPOSED,
        B_TRANSPOSED,
        EVEN_M,
        EVEN_N,
        EVEN_K,
        INDEX64,
        PRECISION,
        ACCUMULATOR,
    )
    if INDEX64:
        rows = rows.to(tl.int64)
    pointers = parts + (matrix * SPLIT_K + part) * m * n + rows[:, None] * n + columns[None, :]
    tl.store(pointers, accumulator, mask=(rows < m)[:, None] & (columns < n)[None, :])


@triton.jit
def add_parts(
    parts,
    c,
    bias,
    residual,
    scale_a,
    scale_b,
    m,
    n,
    c_pitch,
    c_batch_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SPLIT_K: tl.constexpr,
    INDEX64: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    SCALING: tl.constexpr,
    BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    """C[batch] = epilogue(sum of parts[batch] in order), on a grid of (tiles of BLOCK_M x BLOCK_N, batch)."""
    tiles_n = tl.cdiv(n, BLOCK_N)
    matrix = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) // tiles_n * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(0) % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
    mask = (rows < m)[:, None] & (columns < n)[None, :]
    if INDEX64:
        rows = rows.to(tl.int64)
    pointers = parts + matrix * SPLIT_K * m * n + rows[:, None] * n + columns[None, :]
    part_stride = m.to(tl.int64) * n
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
    for _ in range(SPLIT_K):
        accumulator += tl.load(pointers, mask=mask, other=0.0)
        pointers += part_stride
    store_tile(
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
        INDEX64,
        SCALING,
        BIAS,
        ACTIVATION,
        RESIDUAL,
    )
