#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "launch/launch_cache.hpp"

namespace gemm_tuner::testing {
namespace {

using Sizes = std::vector<std::int64_t>;

CallKey key_of(std::int64_t op, const std::vector<TensorView>& tensors) {
  CallKey key(op);
  for (const TensorView& tensor : tensors) key.add_tensor(tensor);
  return key;
}

std::vector<std::int64_t> kept(const CallKey& key) { return {key.words().begin(), key.words().end()}; }

TEST(LaunchCache, ACallIsFoundByAllThatAKernelIsCompiledFor) {
  const Sizes sizes{64, 32}, strides{32, 1}, other{32, 64};
  const TensorView a{0x1000, sizes, strides, 2, 0};
  LaunchCache<int> cache;
  cache.insert(kept(key_of(1, {a, a})), std::make_shared<int>(7));
  const auto found = [&](const CallKey& key) { return cache.find(key) != nullptr; };
  EXPECT_EQ(*cache.find(key_of(1, {a, a})), 7);
  EXPECT_FALSE(found(key_of(2, {a, a})));
  EXPECT_FALSE(found(key_of(1, {a})));
  EXPECT_FALSE(found(key_of(1, {a, {0x1000, other, strides, 2, 0}})));
  EXPECT_FALSE(found(key_of(1, {a, {0x1000, sizes, other, 2, 0}})));
  EXPECT_FALSE(found(key_of(1, {a, {0x1000, sizes, strides, 3, 0}})));
  EXPECT_FALSE(found(key_of(1, {a, {0x1000, sizes, strides, 2, 1}})));
  EXPECT_FALSE(found(key_of(1, {a, {0x1008, sizes, strides, 2, 0}})));  // less aligned
  EXPECT_TRUE(found(key_of(1, {a, {0x2010, sizes, strides, 2, 0}})));   // as aligned as counts
}

TEST(LaunchCache, AnAbsentOperandIsNoOperandOfNoDimension) {
  CallKey absent(1);
  absent.add_absent();
  CallKey scalar(1);
  scalar.add_tensor({});
  EXPECT_FALSE(WordsEqual{}(absent.words(), scalar.words()));
}

TEST(LaunchCache, TextsDifferByLengthAndEveryLetter) {
  const auto of = [](std::string_view text) {
    CallKey key(1);
    key.add_text(text);
    return kept(key);
  };
  EXPECT_EQ(of("gelu_tanh"), of("gelu_tanh"));
  EXPECT_NE(of("gelu_tanh"), of("gelu_tan"));
  EXPECT_NE(of("gelu_tanh"), of("gelu_tanz"));
  EXPECT_NE(of(""), of(std::string_view("\0", 1)));
}

TEST(LaunchCache, MoreDimensionsThanAreKeptFindNothing) {
  const Sizes many(40, 1);
  LaunchCache<int> cache;
  const CallKey key = key_of(1, {{0, many, many, 2, 0}});
  cache.insert(kept(key), std::make_shared<int>(7));
  EXPECT_FALSE(key.whole());
  EXPECT_EQ(cache.find(key), nullptr);
}

TEST(LaunchCache, WhatWasFoundOutlivesItsPlace) {
  LaunchCache<int> cache;
  const CallKey key = key_of(1, {});
  cache.insert(kept(key), std::make_shared<int>(7));
  const auto found = cache.find(key);
  cache.insert(kept(key), std::make_shared<int>(8));
  EXPECT_EQ(*cache.find(key), 8);
  cache.clear();
  EXPECT_EQ(cache.find(key), nullptr);
  EXPECT_EQ(*found, 7);
}

TEST(LaunchCache, ThreadsFindWhatOthersInsert) {
  LaunchCache<std::int64_t> cache;
  std::vector<std::thread> running;
  for (std::int64_t thread = 0; thread < 4; ++thread) {
    running.emplace_back([&, thread] {
      for (std::int64_t op = 0; op < 200; ++op) {
        cache.insert(kept(key_of(op, {})), std::make_shared<std::int64_t>(op));
        EXPECT_EQ(*cache.find(key_of(op, {})), op) << thread;
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  EXPECT_EQ(cache.size(), 200U);
}

}  // namespace
}  // namespace gemm_tuner::testing
