#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/library.hpp"
#include "round_device.hpp"

namespace gemm_tuner {
namespace {

constexpr std::int64_t sizes[] = {1, 17, 512, 4096};

/// What no kernel can beat: the units' peak, and each byte once.
double floor_us(const GemmProblem& p, const DeviceSpec& d) {
  const double rate = tensor_core_rate(p, d) > 0 ? tensor_core_rate(p, d) : d.fma.fp32;
  const double multiply_adds = static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  const double compute_us = multiply_adds / (rate * d.available_sms * d.clock_mhz);
  const double elements = static_cast<double>(p.m * p.k + p.k * p.n + p.m * p.n);
  return std::max(compute_us, elements * bytes_of(p.a_dtype) / (d.bandwidth_gbs * 1e3));
}

TEST(Library, IsNeverFasterThanTheHardware) {
  DeviceSpec narrow = round_device();
  narrow.bandwidth_gbs = 1;
  for (const DeviceSpec& d : {round_device(), narrow}) {
    for (const DType dtype : {DType::float16, DType::float32}) {
      for (const auto m : sizes) {
        for (const auto n : sizes) {
          for (const auto k : sizes) {
            const GemmProblem p = problem_of(m, n, k, dtype);
            const double latency_us = predict_library(p, d);
            EXPECT_TRUE(std::isfinite(latency_us)) << to_string(p);
            EXPECT_GT(latency_us, floor_us(p, d)) << to_string(p);
          }
        }
      }
    }
  }
}

TEST(Library, ComesNearTheHardwareWhereTheProblemIsLarge) {
  // all but the tensor cores is cheap: 100 TB/s of bandwidth
  DeviceSpec d = round_device();
  d.bandwidth_gbs = 1e5;
  const GemmProblem p = problem_of(8192, 8192, 8192);
  EXPECT_LT(predict_library(p, d), 1.5 * floor_us(p, d));
}

TEST(Library, TakesLongerForMoreOfEachSideAndLessWithMoreSms) {
  const double usual = predict_library(problem_of(2048, 2048, 2048), round_device());
  EXPECT_GT(predict_library(problem_of(4096, 2048, 2048), round_device()), usual);
  EXPECT_GT(predict_library(problem_of(2048, 4096, 2048), round_device()), usual);
  EXPECT_GT(predict_library(problem_of(2048, 2048, 4096), round_device()), usual);
  EXPECT_GT(predict_library(problem_of(2048, 2048, 2048), with_available_sms(round_device(), 5)), usual);
}

TEST(Library, SplitsKWhereTilesAreFew) {
  // one SM alone would take the 64x64 tile's 131072 steps of 64*64/256 = 16 clocks: 2097 us
  EXPECT_LT(predict_library(problem_of(64, 64, 131072), round_device()), 2097 / 2.0);
}

TEST(Library, AddsASecondProductToTheFirst) {
  GemmProblem p = problem_of(512, 512, 512);
  const double one = predict_library(p, round_device());
  p.op = Op::mm_plus_mm;
  const ModelConstants k;
  // C is read again, from an L2 that holds everything, by 10 SMs at 1000 clocks a microsecond
  const double read_us = 512 * 512 * 2 / (10 * k.l2_bytes_per_clk_per_sm * 1000);
  EXPECT_NEAR(predict_library(p, round_device()), 2 * one + read_us, 1e-6);
}

TEST(Library, PaysForMisalignedOperands) {
  GemmProblem p = problem_of(2048, 2048, 2048);
  const double aligned = predict_library(p, round_device());
  p.alignment = 8;  // 16 bytes
  EXPECT_DOUBLE_EQ(predict_library(p, round_device()), aligned);
  p.alignment = 4;
  EXPECT_GT(predict_library(p, round_device()), aligned);
}

TEST(Library, HasTuringsTensorCores) {
  DeviceSpec turing = round_device();
  turing.compute_capability = 75;
  turing.smem_per_sm_bytes = turing.smem_per_block_optin_bytes = 65536;
  DeviceSpec without = turing;
  without.fma.fp16 = 0;
  const GemmProblem p = problem_of(4096, 4096, 4096);
  EXPECT_LT(2 * predict_library(p, turing), predict_library(p, without));
}

}  // namespace
}  // namespace gemm_tuner
