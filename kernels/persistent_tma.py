"""Family `persistent_tma`: `persistent` with its tiles of A and B fetched by the copy engine, from 9.0 on.

The engine takes a tile's place from a descriptor and fills what lies outside of the matrix with zeros, so no thread
computes addresses or masks. Each CTA writes its two descriptors to scratch memory that Triton asks of who launches it.
"""

import triton
import triton.language as tl

from .tile import grouped_tile, store_tile


@triton.jit
def persistent_tma(
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
    batch,
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
    INDEX64: tl.constexpr,
    PRECISION: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    SCALING: tl.constexpr,
    BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    """C[batch] = epilogue(A[batch] @ B[batch]) on a grid of any number of CTAs. Parameters as `tiled` has them.

    A, B, all their matrices and rows begin at multiples of 16 bytes.
    """
    a_pitch = a_pitch.to(tl.int64)
    b_pitch = b_pitch.to(tl.int64)
    if A_TRANSPOSED:
        a_tiles = tl.make_tensor_descriptor(a, [batch, k, m], [a_batch_stride, a_pitch, 1], [1, BLOCK_K, BLOCK_M])
    else:
        a_tiles = tl.make_tensor_descriptor(a, [batch, m, k], [a_batch_stride, a_pitch, 1], [1, BLOCK_M, BLOCK_K])
    if B_TRANSPOSED:
        b_tiles = tl.make_tensor_descriptor(b, [batch, n, k], [b_batch_stride, b_pitch, 1], [1, BLOCK_N, BLOCK_K])
    else:
        b_tiles = tl.make_tensor_descriptor(b, [batch, k, n], [b_batch_stride, b_pitch, 1], [1, BLOCK_K, BLOCK_N])
    tiles_of_matrix = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    for tile in range(tl.program_id(0), tiles_of_matrix * batch, tl.num_programs(0)):
        tile_m, tile_n = grouped_tile(tile % tiles_of_matrix, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        matrix = tile // tiles_of_matrix
        first_row = tile_m * BLOCK_M
        first_column = tile_n * BLOCK_N
        accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
        for k_first in range(0, k, BLOCK_K):
            if A_TRANSPOSED:
                a_tile = a_tiles.load([matrix, k_first, first_row]).reshape(BLOCK_K, BLOCK_M).T
            else:
                a_tile = a_tiles.load([matrix, first_row, k_first]).reshape(BLOCK_M, BLOCK_K)
            if B_TRANSPOSED:
                b_tile = b_tiles.load([matrix, first_column, k_first]).reshape(BLOCK_N, BLOCK_K).T
            else:
                b_tile = b_tiles.load([matrix, k_first, first_column]).reshape(BLOCK_K, BLOCK_N)
            accumulator = tl.dot(a_tile, b_tile, accumulator, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        rows = first_row + tl.arange(0, BLOCK_M)
        columns = first_column + tl.arange(0, BLOCK_N)
        store_tile(
            accumulator,
            c,
            bias,
            residual,
            scale_a,
            scale_b,
            matrix.to(tl.int64),
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
