#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "model/legality.hpp"
#include "model/space.hpp"
#include "round_device.hpp"

namespace gemm_tuner {
namespace {

/// What a knob takes in a space that has at least one candidate.
template <class Knob>
auto values_of(const std::vector<GemmConfig>& space, Knob knob) {
  EXPECT_FALSE(space.empty());
  std::set<std::decay_t<decltype(knob(GemmConfig{}))>> values;
  for (const GemmConfig& c : space) values.insert(knob(c));
  return values;
}

using Ints = std::set<int>;

const auto block_m = [](const GemmConfig& c) { return c.block_m; };
const auto block_n = [](const GemmConfig& c) { return c.block_n; };
const auto block_k = [](const GemmConfig& c) { return c.block_k; };
const auto num_stages = [](const GemmConfig& c) { return c.num_stages; };
const auto group_m = [](const GemmConfig& c) { return c.group_m; };
const auto split_k = [](const GemmConfig& c) { return c.split_k; };
const auto tile = [](const GemmConfig& c) { return std::pair(c.block_m, c.block_n); };

TEST(Space, HoldsLegalCandidatesOnceEach) {
  const GemmProblem p = problem_of(1280, 1280, 1024);
  const std::vector<GemmConfig> found = space(p, round_device());
  ASSERT_GT(found.size(), 100u);
  for (const GemmConfig& c : found) {
    EXPECT_NO_THROW(validate(c));
    EXPECT_EQ(refusal(p, c, round_device()), Refusal::none) << to_string(c);
    EXPECT_EQ(std::count(found.begin(), found.end(), c), 1) << to_string(c);
  }
  EXPECT_EQ(found, space(p, round_device()));
}

TEST(Space, BlocksStopAtTheFirstThatCoversTheProblem) {
  // 40 tiles of 256 columns at least: balance trims nothing
  EXPECT_EQ(values_of(space(problem_of(1, 10240, 1024), round_device()), block_m), (Ints{16}));
  EXPECT_EQ(values_of(space(problem_of(17, 10240, 1024), round_device()), block_m), (Ints{16, 32}));
  EXPECT_EQ(values_of(space(problem_of(10240, 33, 1024), round_device()), block_n), (Ints{16, 32, 64}));
  EXPECT_EQ(values_of(space(problem_of(10240, 10240, 1024), round_device()), block_m), (Ints{16, 32, 64, 128, 256}));
}

TEST(Space, RowsOfATileAreAtMost256BytesAndNoLongerThanK) {
  const auto block_ks = [](std::int64_t k, DType dtype) {
    return values_of(space(problem_of(640, 640, k, dtype), round_device()), block_k);
  };
  EXPECT_EQ(block_ks(4096, DType::float16), (Ints{16, 32, 64, 128}));
  EXPECT_EQ(block_ks(4096, DType::float32), (Ints{16, 32, 64}));
  EXPECT_EQ(block_ks(4096, DType::int8), (Ints{32, 64, 128, 256}));
  EXPECT_EQ(block_ks(40, DType::float16), (Ints{16, 32, 64}));
  EXPECT_EQ(block_ks(16, DType::float16), (Ints{16, 32}));
}

TEST(Space, WarpsSuitTheTile) {
  const std::vector<GemmConfig> found = space(problem_of(2560, 2560, 1024), round_device());
  const auto warps_of = [&](int m, int n) {
    Ints warps;
    for (const GemmConfig& c : found) {
      if (c.block_m == m && c.block_n == n) warps.insert(c.num_warps);
    }
    return warps;
  };
  EXPECT_EQ(warps_of(16, 16), (Ints{1, 2}));        // 8 and 4 accumulators; of four warps, 2
  EXPECT_EQ(warps_of(32, 32), (Ints{1, 2, 4}));     // 8 accumulators of four warps
  EXPECT_EQ(warps_of(32, 64), (Ints{1, 2, 4, 8}));  // the most that one warp takes
  EXPECT_EQ(warps_of(64, 64), (Ints{2, 4, 8}));     // one warp: 128 accumulators, but more than 32 x 64 elements
  EXPECT_EQ(warps_of(128, 128), (Ints{4, 8}));      // two warps: 256 accumulators; sixteen: too small a tile
  EXPECT_EQ(warps_of(128, 256), (Ints{8, 16}));
}

TEST(Space, StagesAreNoMoreThanTheLoopCanFill) {
  const auto stages_at = [](std::int64_t k, int depth) {
    std::vector<GemmConfig> found = space(problem_of(640, 640, k), round_device());
    std::erase_if(found, [&](const GemmConfig& c) { return c.block_k != depth; });
    return values_of(found, num_stages);
  };
  EXPECT_EQ(stages_at(32, 32), (Ints{1, 2}));  // one iteration: nothing to prefetch but the next
  EXPECT_EQ(stages_at(64, 32), (Ints{2, 3}));
  EXPECT_EQ(stages_at(96, 32), (Ints{2, 3, 4}));
  EXPECT_EQ(stages_at(1024, 32), (Ints{2, 3, 4, 5, 6}));
}

TEST(Space, ABadlyQuantisedTileGoesWhereASmallerSiblingBalances) {
  // 256 x 256 on 10 SMs: 128x128 tiles keep 4 of them busy, 128x64 keep 8; 64x64 make 16, in two rounds: 0.8 as well
  const auto tiles = values_of(space(problem_of(256, 256, 1024), round_device()), tile);
  for (const auto& gone : {std::pair(256, 256), std::pair(256, 128), std::pair(128, 128)}) {
    EXPECT_FALSE(tiles.contains(gone)) << gone.first << "x" << gone.second;
  }
  for (const auto& kept : {std::pair(128, 64), std::pair(64, 128), std::pair(64, 64)}) {
    EXPECT_TRUE(tiles.contains(kept)) << kept.first << "x" << kept.second;
  }
  // four SMs are just filled by them
  EXPECT_TRUE(values_of(space(problem_of(256, 256, 1024), with_available_sms(round_device(), 4)), tile)
                  .contains(std::pair(128, 128)));
  // 64 x 64 is small enough to stay whatever its balance: 1 tile
  EXPECT_TRUE(values_of(space(problem_of(64, 64, 1024), round_device()), tile).contains(std::pair(64, 64)));
}

TEST(Space, TheOrderOfTilesIsSearchedWhereTheyOutnumberTheSmsAndOverflowL2) {
  const GemmProblem p = problem_of(1280, 1280, 1024);  // operands: 2 * 1280 * 1024 * 2 = 5242880 bytes
  DeviceSpec d = round_device();
  EXPECT_EQ(values_of(space(p, d), group_m), (Ints{8}));
  d.l2_bytes = 2 * 5242880;
  EXPECT_EQ(values_of(space(p, d), group_m), (Ints{8}));
  d.l2_bytes = 2 * 5242880 - 2;
  EXPECT_EQ(values_of(space(p, d), group_m), (Ints{4, 8, 16}));
  for (const GemmConfig& c : space(problem_of(16, 64, 524288), d)) EXPECT_EQ(c.group_m, 8);  // at most 4 tiles
}

TEST(Space, KIsSplitBelowOneWaveIntoPartsOfFourIterationsAndTwoWaves) {
  const auto splits_at = [](const GemmProblem& p, int depth) {
    std::vector<GemmConfig> found = space(p, round_device());
    std::erase_if(found, [&](const GemmConfig& c) { return tile(c) != std::pair(64, 64) || c.block_k != depth; });
    return values_of(found, split_k);
  };
  const GemmProblem one_tile = problem_of(64, 64, 2048);
  EXPECT_EQ(splits_at(one_tile, 64), (Ints{1, 2, 3, 4, 5, 6, 8}));          // 32 iterations
  EXPECT_EQ(splits_at(one_tile, 32), (Ints{1, 2, 3, 4, 5, 6, 8, 12, 16}));  // 64 iterations; 24 would be over 20 CTAs
  EXPECT_EQ(splits_at(problem_of(64, 320, 2048), 32), (Ints{1, 2, 3, 4}));  // 5 tiles
  EXPECT_EQ(splits_at(problem_of(64, 640, 2048), 32), (Ints{1}));           // 10 tiles: a whole wave
  EXPECT_EQ(splits_at(problem_of(64, 64, 2048, DType::int8), 32), (Ints{1}));  // int_mm has no split kernel
}

TEST(Space, ASumOfTwoProductsIsNotSplitAndIteratesMoreThanOnce) {
  GemmProblem p = problem_of(64, 64, 2048);
  p.op = Op::mm_plus_mm;
  EXPECT_EQ(values_of(space(p, round_device()), split_k), (Ints{1}));
  p.k = 64;
  EXPECT_EQ(values_of(space(p, round_device()), [](const GemmConfig& c) { return c.block_k; }), (Ints{16, 32}));
  p.k = 16;
  EXPECT_TRUE(space(p, round_device()).empty());
}

TEST(Space, IsEmptyForADtypeThatTheDeviceLacks) {
  EXPECT_TRUE(space(problem_of(512, 512, 512, DType::float8_e4m3fn), round_device()).empty());
}

}  // namespace
}  // namespace gemm_tuner
