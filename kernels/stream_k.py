"""Family `stream_k`: a fixed number of CTAs share all steps along k equally; a second kernel ends what was cut in two.

Tiles that fill whole rounds of the CTAs are computed whole. The rest, one round and a part of one, is laid end to end
along k and cut into equal shares, so that every CTA works as long as every other. A tile that lies in several shares
leaves its parts in a workspace. Nobody waits for anybody, no atomics: the same inputs give the same bits.
"""

import triton
import triton.language as tl

from .tile import grouped_tile, store_tile, tile_product


@triton.jit
def whole_rounds(tiles, ctas):
    """Rounds in which every CTA computes one whole tile: all, or all but the last full one, whose tiles are shared."""
    rounds = tiles // ctas
    return tl.where(tiles % ctas == 0, rounds, tl.maximum(rounds - 1, 0))


@triton.jit
def share_begin(cta, steps, ctas):
    """The first of the CTA's steps, of those shared; the CTA's last is before the next one's first."""
    return cta.to(tl.int64) * (steps // ctas) + tl.minimum(cta, steps % ctas)


@triton.jit
def share_of(cta, ctas, m, n, k, batch, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """(tiles of a matrix, steps of a tile, whole rounds, all shared steps, the CTA's first, the next one's first)."""
    tiles_of_matrix = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    tiles = tiles_of_matrix * batch
    steps = tl.cdiv(k, BLOCK_K)
    rounds = whole_rounds(tiles, ctas)
    shared_steps = (tiles - rounds * ctas).to(tl.int64) * steps
    begin = share_begin(cta, shared_steps, ctas)
    return tiles_of_matrix, steps, rounds, shared_steps, begin, share_begin(cta + 1, shared_steps, ctas)


@triton.jit
def stream_k(
    a,
    b,
    c,
    parts,
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
    """C = epilogue(A @ B) where a CTA had the whole tile, and else parts[cta, is it the tile's first part?] = A @ B.

    On a grid of any number of CTAs. `parts` is contiguous (ctas, 2, BLOCK_M, BLOCK_N) of the accumulator's type.
    """
    cta = tl.program_id(0)
    ctas = tl.num_programs(0)
    tiles_of_matrix, steps, rounds, _, begin, end = share_of(cta, ctas, m, n, k, batch, BLOCK_M, BLOCK_N, BLOCK_K)
    first_shared = (begin // steps).to(tl.int32)
    last_shared = tl.cdiv(end, steps).to(tl.int32)
    for turn in range(rounds + last_shared - first_shared):
        shared = first_shared + turn - rounds
        is_whole = turn < rounds
        tile = tl.where(is_whole, turn * ctas + cta, rounds * ctas + shared)
        tile_begin = shared.to(tl.int64) * steps
        first_step = tl.where(is_whole, 0, tl.maximum(begin - tile_begin, 0).to(tl.int32))
        last_step = tl.where(is_whole, steps, tl.minimum(end - tile_begin, steps).to(tl.int32))
        tile_m, tile_n = grouped_tile(tile % tiles_of_matrix, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        matrix = (tile // tiles_of_matrix).to(tl.int64)
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
            first_step * BLOCK_K,
            tl.minimum(last_step * BLOCK_K, k),
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
        if last_step - first_step == steps:
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
        else:
            place = (cta * 2 + (first_step == 0).to(tl.int32)).to(tl.int64) * (BLOCK_M * BLOCK_N)
            within = tl.arange(0, BLOCK_M)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
            tl.store(parts + place + within, accumulator)


@triton.jit
def end_tiles(
    parts,
    c,
    bias,
    residual,
    scale_a,
    scale_b,
    m,
    n,
    k,
    batch,
    c_pitch,
    c_batch_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    ROWS: tl.constexpr,
    INDEX64: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    SCALING: tl.constexpr,
    BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    """C = epilogue(sum of its parts in order) of each tile that stream_k cut, on a grid of (ctas, BLOCK_M / ROWS).

    The CTA of stream_k's number ends the tile that this one began and did not end, if there is one: ROWS rows of it.
    """
    cta = tl.program_id(0)
    ctas = tl.num_programs(0)
    tiles_of_matrix, steps, rounds, shared_steps, begin, end = share_of(
        cta, ctas, m, n, k, batch, BLOCK_M, BLOCK_N, BLOCK_K
    )
    shared = end // steps
    if (end % steps > 0) & (begin <= shared * steps):
        tile = rounds * ctas + shared.to(tl.int32)
        tile_m, tile_n = grouped_tile(tile % tiles_of_matrix, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        matrix = (tile // tiles_of_matrix).to(tl.int64)
        tile_rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
        rows = tile_m * BLOCK_M + tile_rows
        columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
        within = tile_rows[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
        accumulator = tl.load(parts + (cta.to(tl.int64) * 2 + 1) * (BLOCK_M * BLOCK_N) + within)
        last = cta + 1
        while share_begin(last, shared_steps, ctas) < (shared + 1) * steps:
            accumulator += tl.load(parts + last.to(tl.int64) * 2 * (BLOCK_M * BLOCK_N) + within)
            last += 1
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
