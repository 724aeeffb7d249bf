// How it is computed: one point of the kernel config space.
#pragma once

#include <cstddef>
#include <string>

#include "gemm/types.hpp"

namespace gemm_tuner {

struct GemmConfig {
  Family family = Family::tiled;
  int block_m = 64;
  int block_n = 64;
  int block_k = 32;
  int num_warps = 4;
  int num_stages = 3;
  int group_m = 8;  // tiles along m that share a column of B before the next column is taken
  int split_k = 1;  // CTAs that share one output tile, each with a part of k
  int ctas = 0;     // of the whole grid, where the family has a fixed number that the tiles are dealt to; else 0

  bool operator==(const GemmConfig&) const = default;
};

inline constexpr int max_ctas_of_a_fixed_grid = 1 << 16;  // far more than any GPU holds at once

/// Throws std::invalid_argument with a sentence where the config makes no sense on any device.
void validate(const GemmConfig& config);

/// Does a kernel of the family run as a fixed number of CTAs, whatever the number of tiles?
bool has_fixed_grid(Family family);

std::string to_string(const GemmConfig& config);
std::size_t hash_value(const GemmConfig& config);

}  // namespace gemm_tuner
