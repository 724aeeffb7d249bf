#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "gemm/config.hpp"

namespace gemm_tuner {
namespace {

GemmConfig changed(const std::function<void(GemmConfig&)>& change) {
  GemmConfig config;
  change(config);
  return config;
}

TEST(GemmConfig, DefaultIsValid) { EXPECT_NO_THROW(validate(GemmConfig{})); }

TEST(GemmConfig, EachFieldIsCheckedAndNamed) {
  const auto expect_refused = [](const char* field, const std::function<void(GemmConfig&)>& change) {
    try {
      validate(changed(change));
      ADD_FAILURE() << field << " was accepted";
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(std::string(error.what()).find(field), 0U) << error.what();
    }
  };
  expect_refused("block_m", [](GemmConfig& c) { c.block_m = 48; });
  expect_refused("block_m", [](GemmConfig& c) { c.block_m = 8; });
  expect_refused("block_n", [](GemmConfig& c) { c.block_n = 1024; });
  expect_refused("block_k", [](GemmConfig& c) { c.block_k = 0; });
  expect_refused("num_warps", [](GemmConfig& c) { c.num_warps = 3; });
  expect_refused("num_stages", [](GemmConfig& c) { c.num_stages = 0; });
  expect_refused("num_stages", [](GemmConfig& c) { c.num_stages = 17; });
  expect_refused("group_m", [](GemmConfig& c) { c.group_m = -1; });
  expect_refused("split_k", [](GemmConfig& c) { c.split_k = 257; });
}

TEST(GemmConfig, SplitKBelongsToItsFamilyAlone) {
  EXPECT_THROW(validate(changed([](GemmConfig& c) { c.split_k = 2; })), std::invalid_argument);
  EXPECT_THROW(validate(changed([](GemmConfig& c) { c.family = Family::split_k; })), std::invalid_argument);
  EXPECT_NO_THROW(validate(changed([](GemmConfig& c) {
    c.family = Family::split_k;
    c.split_k = 2;
  })));
}

TEST(GemmConfig, IsWrittenInOneLine) {
  EXPECT_EQ(to_string(GemmConfig{}), "tiled 64x64x32 w4 s3 g8");
  EXPECT_EQ(to_string(GemmConfig{Family::split_k, 128, 64, 32, 8, 4, 1, 6}), "split_k 128x64x32 w8 s4 g1 k6");
  EXPECT_EQ(to_string(GemmConfig{Family::stream_k, 128, 64, 32, 8, 4, 1, 1, 56}), "stream_k 128x64x32 w8 s4 g1 c56");
}

TEST(GemmConfig, AFixedGridBelongsToItsFamilies) {
  EXPECT_THROW(validate(changed([](GemmConfig& c) { c.ctas = 28; })), std::invalid_argument);
  EXPECT_THROW(validate(changed([](GemmConfig& c) { c.family = Family::stream_k; })), std::invalid_argument);
  EXPECT_NO_THROW(validate(changed([](GemmConfig& c) {
    c.family = Family::stream_k;
    c.ctas = 28;
  })));
}

TEST(GemmConfig, EveryFieldCountsInEqualityAndHash) {
  const std::function<void(GemmConfig&)> changes[] = {[](GemmConfig& c) { c.family = Family::split_k; },
                                                      [](GemmConfig& c) { c.block_m = 128; },
                                                      [](GemmConfig& c) { c.block_n = 128; },
                                                      [](GemmConfig& c) { c.block_k = 64; },
                                                      [](GemmConfig& c) { c.num_warps = 8; },
                                                      [](GemmConfig& c) { c.num_stages = 4; },
                                                      [](GemmConfig& c) { c.group_m = 4; },
                                                      [](GemmConfig& c) { c.split_k = 2; },
                                                      [](GemmConfig& c) { c.ctas = 28; }};
  EXPECT_EQ(hash_value(GemmConfig{}), hash_value(GemmConfig{}));
  for (const auto& change : changes) {
    EXPECT_NE(changed(change), GemmConfig{});
    EXPECT_NE(hash_value(changed(change)), hash_value(GemmConfig{}));
  }
}

TEST(Words, CrossBothWaysAndUnknownOnesListTheKnown) {
  EXPECT_EQ(from_string<Family>("split_k"), Family::split_k);
  EXPECT_EQ(to_string(DType::float8_e5m2), "float8_e5m2");
  try {
    from_string<Layout>("xx");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "unknown layout 'xx'; known: nn, nt, tn, tt");
  }
}

}  // namespace
}  // namespace gemm_tuner
