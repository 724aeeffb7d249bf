#include "model/tile_layout.hpp"

#include <algorithm>
#include <bit>

namespace gemm_tuner {
namespace {

int log2_of(int power_of_two) { return std::countr_zero(static_cast<unsigned>(power_of_two)); }

/// Hands out the bits of n and m, lowest first, to registers, lanes and warps in the order that a layout nests them.
class Builder {
 public:
  Builder(int block_m, int block_n) : n_end_(log2_of(block_n)), m_end_(n_end_ + log2_of(block_m)), m_next_(n_end_) {
    layout_.tile_bits = m_end_;
  }
  void along_n(BitList& list, int count) { take(list, count, n_next_, n_end_); }
  void along_m(BitList& list, int count) { take(list, count, m_next_, m_end_); }
  BitList& registers() { return layout_.registers; }
  BitList& lanes() { return layout_.lanes; }
  BitList& warps() { return layout_.warps; }

  /// What is left repeats in registers, n before m.
  TileLayout finish() {
    along_n(layout_.registers, n_end_ - n_next_);
    along_m(layout_.registers, m_end_ - m_next_);
    return layout_;
  }

 private:
  void take(BitList& list, int count, int& next, int end) {
    for (int i = 0; i < count; ++i) {
      if (next < end) {
        list.push(BitSet{1} << next++);
      } else if (&list != &layout_.registers) {
        list.push(0);  // these threads hold copies
      }
    }
  }

  TileLayout layout_;
  int n_end_, m_end_;
  int n_next_ = 0, m_next_;
};

/// The 16 x 8 pattern that one warp's accumulators have in mma.sync and wgmma alike.
void take_instruction(Builder& builder) {
  builder.along_n(builder.registers(), 1);
  builder.along_n(builder.lanes(), 2);
  builder.along_m(builder.lanes(), 3);
  builder.along_m(builder.registers(), 1);
}

}  // namespace

WarpGrid mma_warp_grid(int block_m, int block_n, int num_warps) {
  WarpGrid grid;
  int repeats_m = std::max(1, block_m / 16);
  int repeats_n = std::max(1, block_n / 8);
  while (grid.warps_m * grid.warps_n < num_warps) {
    if (repeats_m >= repeats_n) {
      grid.warps_m *= 2;
      repeats_m = std::max(1, repeats_m / 2);
    } else {
      grid.warps_n *= 2;
      repeats_n /= 2;
    }
  }
  return grid;
}

WarpGrid wgmma_warp_grid(int block_m, int num_warps) {
  WarpGrid grid{4, 1};
  while (grid.warps_m * grid.warps_n < num_warps) (block_m > 16 * grid.warps_m ? grid.warps_m : grid.warps_n) *= 2;
  return grid;
}

TileLayout mma_layout(int block_m, int block_n, int num_warps) {
  const auto [warps_m, warps_n] = mma_warp_grid(block_m, block_n, num_warps);
  Builder builder(block_m, block_n);
  take_instruction(builder);
  builder.along_n(builder.warps(), log2_of(warps_n));
  builder.along_m(builder.warps(), log2_of(warps_m));
  return builder.finish();
}

int wgmma_columns(int block_m, int block_n, int num_warps) {
  const int columns_of_warps = std::max(1, num_warps / std::max(1, block_m / 16));
  return std::min({std::max(block_n / columns_of_warps, 8), block_n, 256});
}

TileLayout wgmma_layout(int block_m, int block_n, int num_warps) {
  const int instruction_n = wgmma_columns(block_m, block_n, num_warps);
  const auto [warps_m, warps_n] = wgmma_warp_grid(block_m, num_warps);
  Builder builder(block_m, block_n);
  take_instruction(builder);
  builder.along_n(builder.registers(), log2_of(instruction_n) - 3);
  builder.along_n(builder.warps(), log2_of(warps_n));
  builder.along_m(builder.warps(), log2_of(warps_m));
  return builder.finish();
}

TileLayout blocked_layout(int block_m, int block_n, int num_warps, int height, int width) {
  const int lanes_n = std::clamp(block_n / width, 1, 32);
  const int warps_n = std::clamp(block_n / (width * lanes_n), 1, num_warps);
  Builder builder(block_m, block_n);
  builder.along_n(builder.registers(), log2_of(width));
  builder.along_m(builder.registers(), log2_of(height));
  builder.along_n(builder.lanes(), log2_of(lanes_n));
  builder.along_m(builder.lanes(), log2_of(32 / lanes_n));
  builder.along_n(builder.warps(), log2_of(warps_n));
  builder.along_m(builder.warps(), log2_of(num_warps / warps_n));
  return builder.finish();
}

}  // namespace gemm_tuner
