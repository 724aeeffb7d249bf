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
    scale_a,
    scale_b,
    m,
    n,
    k,
    a_pitch,
    b_pitch,
    c_pitch,
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
):
    """C = epilogue(A @ B) on a grid of any number of CTAs. A, B and all their rows begin at multiples of 16 bytes."""
    a_pitch = a_pitch.to(tl.int64)
    b_pitch = b_pitch.to(tl.int64)
    if A_TRANSPOSED:
        a_tiles = tl.make_tensor_descriptor(a, [k, m], [a_pitch, 1], [BLOCK_K, BLOCK_M])
    else:
        a_tiles = tl.make_tensor_descriptor(a, [m, k], [a_pitch, 1], [BLOCK_M, BLOCK_K])
    if B_TRANSPOSED:
        b_tiles = tl.make_tensor_descriptor(b, [n, k], [b_pitch, 1], [BLOCK_N, BLOCK_K])
    else:
        b_tiles = tl.make_tensor_descriptor(b, [k, n], [b_pitch, 1], [BLOCK_K, BLOCK_N])
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        tile_m, tile_n = grouped_tile(tile, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        first_row = tile_m * BLOCK_M
        first_column = tile_n * BLOCK_N
        accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
        for k_first in range(0, k, BLOCK_K):
            a_tile = a_tiles.load([k_first, first_row]).T if A_TRANSPOSED else a_tiles.load([first_row, k_first])
            b_tile = b_tiles.load([first_column, k_first]).T if B_TRANSPOSED else b_tiles.load([k_first, first_column])
            accumulator = tl.dot(a_tile, b_tile, accumulator, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        rows = first_row + tl.arange(0, BLOCK_M)
        columns = first_column + tl.arange(0, BLOCK_N)
        store_tile(
            accumulator, c, bias, scale_a, scale_b, rows, columns, m, n, c_pitch, INDEX64, SCALING, BIAS, ACTIVATION
        )
