#include "model/space.hpp"

#include <algorithm>
#include <array>
#include <bit>

#include "model/legality.hpp"

namespace gemm_tuner {
namespace {

constexpr std::array block_sizes{16, 32, 64, 128, 256};
constexpr std::array block_ks{16, 32, 64, 128, 256};
constexpr std::array warp_counts{1, 2, 4, 8, 16};
// equal predictions go to the first: what hides most latency for its memory
constexpr std::array<int, max_stage_variants> stage_counts{4, 3, 5, 2, 6, 1};
constexpr int usual_group_m = 8;  // Inductor's fixed value, good for most grids
constexpr std::array<int, max_group_variants> group_sizes{usual_group_m, 4, 16};
constexpr std::array split_counts{2, 3, 4, 5, 6, 8, 12, 16, 24, 32};
constexpr int min_accumulators_per_thread = 8;       // fewer leave each tensor core without independent work
constexpr int max_elements_of_one_warp = 32 * 64;    // one warp uses one of an SM's four tensor cores
constexpr int min_elements_of_16_warps = 128 * 256;  // below it eight warps hold the tile without spilling
constexpr int max_accumulators_per_thread = 128;     // of 255 registers; more spill beside operands and addresses
constexpr int min_iterations_per_split = 4;          // a part of k must at least fill its own pipeline
constexpr int min_split_stages = 3;
constexpr int max_split_stages = 4;
constexpr int max_waves_split = 2;        // beyond two waves splitting k buys nothing and pays for its reduction
constexpr double poor_utilization = 0.6;  // below it a grid is called badly quantised...
constexpr double better_sibling = 1.3;    // ...and goes where a sibling does this much better

/// The smallest power of two that covers `size`, at least the smallest block.
std::int64_t covering_block(std::int64_t size) {
  return std::max<std::int64_t>(block_sizes.front(),
                                static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(size))));
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t tiles_of(const GemmProblem& p, int block_m, int block_n) {
  return ceil_div(p.m, block_m) * ceil_div(p.n, block_n) * p.batch;
}

/// Useful share of the SM-time that `ctas` equal CTAs take on `sms` SMs.
double utilization(std::int64_t ctas, int sms) {
  return static_cast<double>(ctas) / static_cast<double>(ceil_div(ctas, sms) * sms);
}

/// A grid that leaves most SMs idle, where a tile half as large would keep nearly twice as many at work.
bool loses_to_smaller_sibling(const GemmProblem& p, int block_m, int block_n, int sms) {
  const double own = utilization(tiles_of(p, block_m, block_n), sms);
  if (own >= poor_utilization) return false;
  const auto better = [&](int m, int n) {
    return m >= block_sizes.front() && n >= block_sizes.front() &&
           utilization(tiles_of(p, m, n), sms) >= better_sibling * own;
  };
  // only where the tile is big: small ones lose more reuse than they win balance
  return block_m * block_n > 64 * 64 && (better(block_m / 2, block_n) || better(block_m, block_n / 2));
}

bool suits_warps(int block_m, int block_n, int num_warps) {
  const int elements = block_m * block_n;
  const int accumulators = elements / (32 * num_warps);
  if (accumulators > max_accumulators_per_thread) return false;
  if (num_warps == 1) return elements <= max_elements_of_one_warp;
  if (num_warps == 16) return elements >= min_elements_of_16_warps;
  return accumulators >= min_accumulators_per_thread || num_warps == 2;
}

/// Stages beyond the iterations there are would only hold memory.
bool suits_stages(std::int64_t iterations, int num_stages) {
  return num_stages == 1 ? iterations == 1 : num_stages - 1 <= std::max<std::int64_t>(iterations, 1);
}

/// Does the order of tiles matter? Only where they take several waves and the operands do not stay in L2.
bool order_matters(const GemmProblem& p, const DeviceSpec& d, std::int64_t tiles) {
  const double bytes = (static_cast<double>(p.m) + static_cast<double>(p.n)) * static_cast<double>(p.k) *
                       static_cast<double>(p.batch) * bytes_of(p.a_dtype);
  return tiles > d.available_sms && bytes > static_cast<double>(d.l2_bytes) / 2;
}

void add_variants(const GemmProblem& p, const DeviceSpec& d, GemmConfig config, std::vector<GemmConfig>& found) {
  const std::int64_t tiles = tiles_of(p, config.block_m, config.block_n);
  const std::int64_t iterations = ceil_div(p.k, config.block_k);
  const bool ordered = order_matters(p, d, tiles);
  for (const int group_m : group_sizes) {
    if (!ordered && group_m != usual_group_m) continue;
    config.group_m = group_m;
    found.push_back(config);
  }
  // loops long enough to be split are long enough for a full pipeline: two depths do
  if (config.num_stages < min_split_stages || config.num_stages > max_split_stages) return;
  if (tiles >= d.available_sms || p.op == Op::int_mm || p.op == Op::scaled_mm || p.op == Op::mm_plus_mm) return;
  config.group_m = usual_group_m;
  config.family = Family::split_k;
  for (const int split_k : split_counts) {
    config.split_k = split_k;
    if (iterations < static_cast<std::int64_t>(split_k) * min_iterations_per_split) break;
    if (tiles * split_k > static_cast<std::int64_t>(max_waves_split) * d.available_sms) break;
    found.push_back(config);
  }
}

}  // namespace

std::vector<GemmConfig> space(const GemmProblem& p, const DeviceSpec& d) {
  std::vector<GemmConfig> found;
  const auto covers = [](int block, std::int64_t size) { return block <= covering_block(size); };
  for (const int block_m : block_sizes) {
    if (!covers(block_m, p.m)) continue;
    for (const int block_n : block_sizes) {
      if (!covers(block_n, p.n) || loses_to_smaller_sibling(p, block_m, block_n, d.available_sms)) continue;
      for (const int num_warps : warp_counts) {
        if (!suits_warps(block_m, block_n, num_warps)) continue;
        for (const int block_k : block_ks) {
          if (block_k != block_ks.front() && bytes_of(p.a_dtype) * block_k > 256)
            continue;  // longer rows than any load
          if (block_k > std::max<std::int64_t>(covering_block(p.k), 32)) continue;
          const std::int64_t iterations = ceil_div(p.k, block_k);
          for (const int num_stages : stage_counts) {
            GemmConfig config;
            config.block_m = block_m;
            config.block_n = block_n;
            config.block_k = block_k;
            config.num_warps = num_warps;
            config.num_stages = num_stages;
            if (!suits_stages(iterations, num_stages)) continue;
            if (refusal(p, config, d) == Refusal::none) add_variants(p, d, config, found);
          }
        }
      }
    }
  }
  return found;
}

}  // namespace gemm_tuner
