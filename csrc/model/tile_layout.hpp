// Where Triton keeps the elements of a tile: which bits of an element's position choose the register, the lane and the
// warp. Every layout that a GEMM's result passes through permutes bits, so a layout is three lists of them.
#pragma once

#include <array>
#include <cstdint>

namespace gemm_tuner {

/// Bits of an element's position in a block_m x block_n tile: those of n from 0 up, then those of m.
using BitSet = std::uint32_t;

/// At most 18 bits (512 x 512), each a set of one; the empty set where the threads outnumber the elements.
struct BitList {
  std::array<BitSet, 18> bits{};
  int size = 0;

  void push(BitSet bit) { bits[static_cast<std::size_t>(size++)] = bit; }
  BitSet operator[](int index) const { return bits[static_cast<std::size_t>(index)]; }
  BitSet all() const {
    BitSet set = 0;
    for (int i = 0; i < size; ++i) set |= bits[static_cast<std::size_t>(i)];
    return set;
  }
  bool operator==(const BitList&) const = default;
};

struct TileLayout {
  BitList registers;
  BitList lanes;  // always five
  BitList warps;
  int tile_bits = 0;

  bool operator==(const TileLayout&) const = default;
};

/// How the warps of a CTA share its output tile.
struct WarpGrid {
  int warps_m = 1;
  int warps_n = 1;

  bool operator==(const WarpGrid&) const = default;
};

/// Of mma.sync: warps are dealt to the side where each still has more instruction tiles (16 x 8).
WarpGrid mma_warp_grid(int block_m, int block_n, int num_warps);

/// Of wgmma: a warp group is four high; further warps go down the tile while it has rows for them.
WarpGrid wgmma_warp_grid(int block_m, int num_warps);

/// Accumulators of mma.sync (16 x 8 per instruction), warps spread so that they repeat as evenly as possible.
TileLayout mma_layout(int block_m, int block_n, int num_warps);

/// Columns of the tile that one wgmma instruction computes.
int wgmma_columns(int block_m, int block_n, int num_warps);

/// Accumulators of wgmma (64 x up to 256 per warp group).
TileLayout wgmma_layout(int block_m, int block_n, int num_warps);

/// Row-major blocks of height x width elements per thread: global loads and stores, and products without tensor cores.
TileLayout blocked_layout(int block_m, int block_n, int num_warps, int height, int width);

}  // namespace gemm_tuner
