#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "tuning/spread.hpp"

namespace gemm_tuner {
namespace {

TEST(Spread, MedianIsTheMiddleOrBetweenTheTwoInIt) {
  EXPECT_EQ(median(std::vector{3.0}), 3);
  EXPECT_EQ(median(std::vector{9.0, 1.0, 2.0}), 2);
  EXPECT_EQ(median(std::vector{4.0, 1.0, 2.0, 100.0}), 3);
  EXPECT_THROW(median({}), std::invalid_argument);
}

TEST(Spread, OneWildValueDoesNotMoveTheDeviation) {
  // distances from 10: 0, 1, 1, 2 and 2; then one of them is enormous
  EXPECT_DOUBLE_EQ(robust_deviation(std::vector{8.0, 9.0, 10.0, 11.0, 12.0}), 1.4826);
  EXPECT_DOUBLE_EQ(robust_deviation(std::vector{8.0, 9.0, 10.0, 11.0, 1e6}), 1.4826);
}

TEST(Spread, NoiseOfRepeatsIsRelative) {
  EXPECT_EQ(repeat_noise(std::vector{10.0}), 0);
  EXPECT_EQ(repeat_noise(std::vector{10.0, 10.0, 10.0}), 0);
  const double noise = repeat_noise(std::vector{9.9, 10.0, 10.1});
  EXPECT_NEAR(noise, 0.01 / std::pow(8.0 / 9, 1.5), 1e-12);
  EXPECT_NEAR(repeat_noise(std::vector{990.0, 1000.0, 1010.0}), noise, 1e-12);
}

TEST(Spread, GapHasASignAndItsReverse) {
  const std::vector<double> slow{11, 12, 13}, quick{10, 10, 10};
  const Gap gap = gap_between(slow, quick, 0.01, 2);
  EXPECT_DOUBLE_EQ(gap.log_ratio, std::log(1.2));
  EXPECT_GT(gap.half_width, 0);
  EXPECT_DOUBLE_EQ(gap_between(quick, slow, 0.01, 2).log_ratio, -gap.log_ratio);
  EXPECT_NEAR(gap_between(quick, slow, 0.01, 2).half_width, gap.half_width, 1e-12);
  EXPECT_DOUBLE_EQ(gap.most() - gap.least(), 2 * gap.half_width);
}

TEST(Spread, AClockThatSinksUnderBothIsNoDifference) {
  const std::vector<double> a{10, 12, 15, 20}, b{20, 24, 30, 40};
  const Gap gap = gap_between(b, a, 0.003, 2.5);
  EXPECT_DOUBLE_EQ(gap.log_ratio, std::log(2));
  const std::vector<double> steady_a(4, 10.0), steady_b(4, 20.0);
  EXPECT_NEAR(gap.half_width, gap_between(steady_b, steady_a, 0.003, 2.5).half_width, 1e-12);
}

TEST(Spread, MoreRoundsLessNoiseAndFewerDeviationsNarrowIt) {
  const auto width = [](std::size_t rounds, double noise, double deviations) {
    const std::vector<double> a(rounds, 1.0), b(rounds, 1.1);
    return gap_between(a, b, noise, deviations).half_width;
  };
  EXPECT_GT(width(1, 0.01, 2), width(2, 0.01, 2));
  EXPECT_GT(width(2, 0.01, 2), width(12, 0.01, 2));
  EXPECT_GT(width(4, 0.02, 2), width(4, 0.01, 2));
  EXPECT_GT(width(4, 0.01, 3), width(4, 0.01, 2));
  // rounds that scatter more than the repeats within them count as they scatter
  const std::vector<double> steady{10, 10, 10, 10}, loose{8, 9, 11, 12};
  EXPECT_GT(gap_between(loose, steady, 0.003, 2).half_width, gap_between(steady, steady, 0.003, 2).half_width * 5);
}

TEST(Spread, RefusesRoundsThatAreNotShared) {
  EXPECT_THROW(gap_between(std::vector{1.0, 2.0}, std::vector{1.0}, 0.01, 2), std::invalid_argument);
  EXPECT_THROW(gap_between({}, {}, 0.01, 2), std::invalid_argument);
}

}  // namespace
}  // namespace gemm_tuner
