#include <gtest/gtest.h>

#include "model/occupancy.hpp"
#include "model/product.hpp"
#include "round_device.hpp"

namespace gemm_tuner {
namespace {

TEST(WarpGrid, DealsWarpsToTheSideWithMoreInstructionTiles) {
  EXPECT_EQ(warp_grid(config_of(64, 64, 32, 1), Product::mma), (WarpGrid{1, 1}));
  EXPECT_EQ(warp_grid(config_of(64, 64, 32, 4), Product::mma), (WarpGrid{2, 2}));
  EXPECT_EQ(warp_grid(config_of(128, 128, 32, 4), Product::mma), (WarpGrid{2, 2}));
  EXPECT_EQ(warp_grid(config_of(128, 128, 32, 16), Product::mma), (WarpGrid{4, 4}));
  EXPECT_EQ(warp_grid(config_of(64, 256, 32, 4), Product::mma), (WarpGrid{1, 4}));
  EXPECT_EQ(warp_grid(config_of(256, 32, 32, 4), Product::mma), (WarpGrid{4, 1}));
  EXPECT_EQ(warp_grid(config_of(128, 64, 32, 4), Product::mma), (WarpGrid{2, 2}));
  EXPECT_EQ(warp_grid(config_of(128, 128, 32, 8), Product::mma), (WarpGrid{2, 4}));
}

TEST(WarpGrid, GivesNoWarpToASideWithoutInstructionTiles) {
  EXPECT_EQ(warp_grid(config_of(16, 64, 32, 4), Product::mma), (WarpGrid{1, 4}));
  EXPECT_EQ(warp_grid(config_of(16, 256, 32, 8), Product::mma), (WarpGrid{1, 8}));
}

TEST(WarpGrid, OfAWarpGroupIsFourHigh) {
  EXPECT_EQ(warp_grid(config_of(64, 128, 32, 4), Product::wgmma), (WarpGrid{4, 1}));
  EXPECT_EQ(warp_grid(config_of(128, 128, 32, 8), Product::wgmma), (WarpGrid{8, 1}));
  EXPECT_EQ(warp_grid(config_of(64, 256, 32, 8), Product::wgmma), (WarpGrid{4, 2}));
}

TEST(Product, IsWgmmaOnHopperWithFourWarps64RowsAndTensorCores) {
  const GemmProblem half = problem_of(512, 512, 512);
  GemmProblem single = problem_of(512, 512, 512, DType::float32);
  const GemmConfig config = config_of(64, 64, 32, 4);
  EXPECT_EQ(product_of(half, config, 90), Product::wgmma);
  for (const int other : {80, 86, 89, 100, 120}) EXPECT_NE(product_of(half, config, other), Product::wgmma) << other;
  EXPECT_NE(product_of(half, config_of(64, 64, 32, 2), 90), Product::wgmma);
  EXPECT_NE(product_of(half, config_of(32, 64, 32, 4), 90), Product::wgmma);
  EXPECT_NE(product_of(single, config, 90), Product::wgmma);
  single.precision = Precision::tf32;
  EXPECT_EQ(product_of(single, config, 90), Product::wgmma);
}

TEST(EstimatedResources, AddUp) {
  // 32 of every kernel; 64*64/128 = 32 accumulators; operands of a 32x32 warp tile 64*32*2/128 = 32;
  // addresses of (64+64)*32*2 bytes loaded 16 at a time by 128 threads: 4 loads of 2 registers
  const KernelResources r = estimate_resources(problem_of(512, 512, 512), config_of(64, 64, 32, 4, 3), 86);
  EXPECT_EQ(r.registers_per_thread, 32 + 32 + 32 + 8);
  EXPECT_EQ(r.spill_bytes, 0);
  EXPECT_EQ(r.smem_bytes, 2 * (64 + 64) * 32 * 2);
  EXPECT_EQ(r.tensor_core_instructions, 1);
}

TEST(EstimatedResources, NarrowLoadsTakeAddressesAndWaitInRegisters) {
  GemmProblem p = problem_of(512, 512, 512);
  p.alignment = 1;  // 8192 bytes 2 at a time: 32 loads a thread; and 8192 bytes in the registers of 128 threads
  EXPECT_EQ(estimate_resources(p, config_of(64, 64, 32, 4, 3), 86).registers_per_thread, 32 + 32 + 32 + 64 + 16);
  p.alignment = 2;  // 4 bytes at a time, which cp.async can move
  EXPECT_EQ(estimate_resources(p, config_of(64, 64, 32, 4, 3), 86).registers_per_thread, 32 + 32 + 32 + 32);
}

TEST(EstimatedResources, SpillWhatDoesNotFitIn255Registers) {
  // 256*256/128 = 512 accumulators, (256+256)*32*2/16/128 = 16 loads, 32 of every kernel
  const KernelResources four = estimate_resources(problem_of(512, 512, 512), config_of(256, 256, 32, 4, 2), 86);
  EXPECT_EQ(four.registers_per_thread, 255);
  EXPECT_EQ(four.spill_bytes, 4 * (512 + 32 + 32 - 255));
  // 16 warps: 128 accumulators and 4 loads, but an SM's 65536 registers leave 128 to each of 512 threads
  const KernelResources sixteen = estimate_resources(problem_of(512, 512, 512), config_of(256, 256, 32, 16, 2), 86);
  EXPECT_EQ(sixteen.registers_per_thread, 128);
  EXPECT_EQ(sixteen.spill_bytes, 4 * (128 + 8 + 32 - 128));
}

TEST(EstimatedResources, TensorCoreInstructionsAreEmittedFrom80OnAndNotForIeeeFloat32) {
  const GemmConfig config = config_of(64, 64, 32);
  GemmProblem single = problem_of(512, 512, 512, DType::float32);
  EXPECT_EQ(estimate_resources(problem_of(512, 512, 512), config, 75).tensor_core_instructions, 0);
  EXPECT_EQ(estimate_resources(problem_of(512, 512, 512), config, 80).tensor_core_instructions, 1);
  EXPECT_EQ(estimate_resources(single, config, 80).tensor_core_instructions, 0);
  single.precision = Precision::tf32;
  EXPECT_EQ(estimate_resources(single, config, 80).tensor_core_instructions, 1);
}

KernelResources needs(int registers, int smem_bytes) {
  KernelResources r;
  r.registers_per_thread = registers;
  r.smem_bytes = smem_bytes;
  return r;
}

TEST(ResidentCtas, SharedMemoryIncludesTheSystemsKibibyteFrom80On) {
  DeviceSpec d = round_device();
  EXPECT_EQ(resident_ctas(needs(32, 16384), 4, d), 5);  // 102400 / (16384 + 1024) = 5.9
  EXPECT_EQ(resident_ctas(needs(32, 101376), 4, d), 1);
  d.compute_capability = 75;
  EXPECT_EQ(resident_ctas(needs(32, 16384), 4, d), 6);  // 102400 / 16384 = 6.25
}

TEST(ResidentCtas, RegistersAreHandedOutInEights) {
  const DeviceSpec d = round_device();
  EXPECT_EQ(resident_ctas(needs(96, 1024), 4, d), 5);  // 65536 / (96 * 128) = 5.3
  EXPECT_EQ(resident_ctas(needs(97, 1024), 4, d), 4);  // 65536 / (104 * 128) = 4.9, though 97 * 128 goes in 5.3 times
  EXPECT_EQ(resident_ctas(needs(255, 1024), 16, d), 0);
}

TEST(ResidentCtas, ThreadsAndCtasHaveLimits) {
  const DeviceSpec d = round_device();
  EXPECT_EQ(resident_ctas(needs(32, 1024), 8, d), 6);   // 1536 / 256
  EXPECT_EQ(resident_ctas(needs(32, 1024), 1, d), 16);  // 48 by threads, 64 by registers
}

TEST(ResidentCtas, IsNoneWhereOneCtaMayNotHaveTheMemory) {
  EXPECT_EQ(resident_ctas(needs(32, 101377), 4, round_device()), 0);
}

TEST(TensorCores, RateFollowsDtypeAndPrecision) {
  const DeviceSpec d = round_device();
  GemmProblem single = problem_of(8, 8, 8, DType::float32);
  EXPECT_EQ(tensor_core_rate(problem_of(8, 8, 8), d), 256);
  EXPECT_EQ(tensor_core_rate(problem_of(8, 8, 8, DType::int8), d), 1024);
  EXPECT_EQ(tensor_core_rate(problem_of(8, 8, 8, DType::float8_e4m3fn), d), 0);
  EXPECT_EQ(tensor_core_rate(single, d), 0);
  single.precision = Precision::tf32;
  EXPECT_EQ(tensor_core_rate(single, d), 128);
}

TEST(TensorCores, TuringHasThemButTritonHasNoPathToThem) {
  DeviceSpec d = round_device();
  const GemmProblem half = problem_of(8, 8, 8);
  for (const int with : {80, 86, 89, 90, 120}) {
    d.compute_capability = with;
    EXPECT_TRUE(has_tensor_core_path(half, d)) << with;
    EXPECT_FALSE(has_tensor_core_path(problem_of(8, 8, 8, DType::float32), d)) << with;
    EXPECT_FALSE(has_tensor_core_path(problem_of(8, 8, 8, DType::float8_e5m2), d)) << with;
  }
  for (const int without : {70, 75}) {
    d.compute_capability = without;
    EXPECT_FALSE(has_tensor_core_path(half, d)) << without;
    EXPECT_EQ(tensor_core_rate(half, d), 256);
  }
}

}  // namespace
}  // namespace gemm_tuner
