#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "model/rank.hpp"
#include "model/space.hpp"
#include "round_device.hpp"

namespace gemm_tuner {
namespace {

std::vector<GemmConfig> configs_of(const std::vector<Prediction>& ranked) {
  std::vector<GemmConfig> configs;
  for (const Prediction& p : ranked) configs.push_back(p.config);
  return configs;
}

GemmConfig grouped(GemmConfig config, int group_m) {
  config.group_m = group_m;
  return config;
}

TEST(Rank, IsTheOrderOfPredictedLatencies) {
  const GemmProblem p = problem_of(640, 640, 1024);
  const DeviceSpec d = round_device();
  const std::vector<Prediction> ranked = rank(p, d, 8);
  ASSERT_EQ(ranked.size(), 8u);
  double best = ranked.front().latency_us;
  for (const Prediction& one : ranked) {
    EXPECT_EQ(one, predict(p, one.config, d));
    EXPECT_GE(one.latency_us, best);
    best = one.latency_us;
  }
  // and nothing in the space is better than its first
  for (const GemmConfig& c : space(p, d)) EXPECT_GE(predict(p, c, d).latency_us, ranked.front().latency_us);
}

TEST(Rank, GivesTheSameOrderEveryTimeAndShorterListsAreItsBeginning) {
  const GemmProblem p = problem_of(333, 777, 4096);
  const std::vector<Prediction> eight = rank(p, round_device(), 8);
  ASSERT_EQ(eight.size(), 8u);
  EXPECT_EQ(eight, rank(p, round_device(), 8));
  EXPECT_EQ(std::vector<Prediction>(eight.begin(), eight.begin() + 3), rank(p, round_device(), 3));
}

TEST(Rank, TiesGoToTheFirstGiven) {
  // one row of tiles: group_m changes nothing
  const GemmProblem p = problem_of(64, 640, 1024);
  const GemmConfig c = config_of(64, 64, 32);
  const std::vector<GemmConfig> given{grouped(c, 16), grouped(c, 4), grouped(c, 8)};
  const std::vector<Prediction> ranked = rank(p, round_device(), 3, given);
  EXPECT_EQ(configs_of(ranked), given);
  EXPECT_EQ(ranked.front().latency_us, ranked.back().latency_us);
}

TEST(Rank, OfTheSpaceEachTileHasOnePlace) {
  const GemmProblem p = problem_of(2560, 2560, 2560);
  DeviceSpec d = round_device();
  d.l2_bytes = 1 << 20;
  const std::vector<GemmConfig> candidates = space(p, d);
  ASSERT_TRUE(std::any_of(candidates.begin(), candidates.end(), [](const GemmConfig& c) { return c.group_m == 4; }));
  const std::vector<GemmConfig> ranked = configs_of(rank(p, d, 8));
  ASSERT_EQ(ranked.size(), 8u);
  for (std::size_t i = 0; i < ranked.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(grouped(ranked[i], 8), grouped(ranked[j], 8)) << i << " and " << j;
  }
}

TEST(Rank, OfGivenConfigsHasJustTheLegalOnes) {
  const GemmProblem p = problem_of(1280, 1280, 1024);
  const GemmConfig best = config_of(128, 64, 32);
  const GemmConfig worst = config_of(16, 16, 16, 1, 2);
  const GemmConfig too_large = config_of(256, 256, 64, 8, 4);
  const std::vector<GemmConfig> expected{best, worst};
  EXPECT_EQ(configs_of(rank(p, round_device(), 8, std::vector{too_large, worst, best})), expected);
  EXPECT_TRUE(rank(p, round_device(), 8, std::vector{too_large}).empty());
  EXPECT_TRUE(rank(p, round_device(), 8, std::vector<GemmConfig>{}).empty());
  // group_m variants that the caller asks for stay apart
  EXPECT_EQ(rank(p, round_device(), 8, std::vector{best, grouped(best, 4)}).size(), 2u);
}

TEST(Rank, RefusesNonsense) {
  EXPECT_THROW(rank(problem_of(64, 64, 64), round_device(), 0), std::invalid_argument);
  EXPECT_THROW(rank(problem_of(64, 64, 64), round_device(), 1, std::vector{config_of(60, 64, 32)}),
               std::invalid_argument);
}

TEST(Rank, OfADtypeThatTheDeviceLacksIsEmpty) {
  EXPECT_TRUE(rank(problem_of(512, 512, 512, DType::float8_e4m3fn), round_device(), 4).empty());
}

}  // namespace
}  // namespace gemm_tuner
