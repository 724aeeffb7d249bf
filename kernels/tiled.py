"""Family `tiled`: one CTA per output tile, the whole of k in one loop."""

import triton
import triton.language as tl

from .tile import grouped_tile, store_tile, tile_product


@triton.jit
def tiled(
    a,
    b,
    c,
    bias,
    residual,
    scale_a,
    scale_b,
    m,
    n,
    k,
    a_pitch,
    b_pitch,
    c_pitch,
    a_batch_stride,
    b_batch_stride,
    c_batch_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    A_TRANSPOSED: tl.constexpr,
    B_TRANSPOSED: tl.constexpr,
    EVEN_M: tl.constexpr,
    EVEN_N: tl.constexpr,
    EVEN_K: tl.constexpr,
    INDEX64: tl.constexpr,
    PRECISION: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    SCALING: tl.constexpr,
    BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    """C[batch] = epilogue(A[batch] @ B[batch]) on a grid of (tiles, batch).

    Pitches are elements between rows as stored, batch strides elements between matrices; C is row-major.
    """
    tile_m, tile_n = grouped_tile(tl.program_id(0), m, n, BLOCK_M, BLOCK_N, GROUP_M)
    matrix = tl.program_id(1).to(tl.int64)
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
        0,
        k,
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
