// Each term alone: every other one is free of cost, so that the number can be worked out by hand.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "model/predict.hpp"
#include "round_device.hpp"

namespace gemm_tuner {
namespace {

const GemmConfig config = config_of(64, 64, 32);
constexpr double tensor_clk = 64.0 * 64 * 32 / 256;  // of one iteration: 512

Prediction predicted(const GemmProblem& p, const ModelConstants& k, const GemmConfig& c = config,
                     const DeviceSpec& d = round_device()) {
  return predict(p, c, d, small_kernel(), k);
}

TEST(Predict, TensorCoresTakeTheirTimeForWholeTiles) {
  EXPECT_DOUBLE_EQ(predicted(problem_of(640, 64, 320), free_of_cost()).latency_us, 10 * tensor_clk / 1000);
  EXPECT_DOUBLE_EQ(predicted(problem_of(577, 1, 289), free_of_cost()).latency_us, 10 * tensor_clk / 1000);
  DeviceSpec capped = round_device();
  capped.sustained_fraction = 0.5;  // power
  EXPECT_DOUBLE_EQ(predicted(problem_of(640, 64, 320), free_of_cost(), config, capped).latency_us,
                   10 * tensor_clk / 1000 / 0.5);
}

TEST(Predict, TheBusiestSmRunsItsShareInRounds) {
  // 60 tiles: six for each SM, five at once and one after them; 11 iterations each
  const Prediction p = predicted(problem_of(3840, 64, 352), free_of_cost());
  EXPECT_EQ(p.ctas, 60);
  EXPECT_EQ(p.ctas_per_sm, 5);
  EXPECT_DOUBLE_EQ(p.waves, 60 / 50.0);
  EXPECT_DOUBLE_EQ(p.sm_utilization, 1);
  EXPECT_DOUBLE_EQ(p.latency_us, 11 * 6 * tensor_clk / 1000);
  EXPECT_DOUBLE_EQ(predicted(problem_of(3904, 64, 352), free_of_cost()).sm_utilization, 61 / 70.0);
}

TEST(Predict, AResidualIsReadOnce) {
  GemmProblem p = problem_of(640, 64, 320);
  const double without = predicted(p, free_of_cost()).dram_bytes;
  p.epilogue = Epilogue::relu_residual;
  EXPECT_DOUBLE_EQ(predicted(p, free_of_cost()).dram_bytes, without + 640 * 64 * 2.0);
}

TEST(Predict, ABatchMultipliesTheTiles) {
  GemmProblem p = problem_of(64, 64, 320);
  p.op = Op::bmm;
  p.batch = 20;
  EXPECT_DOUBLE_EQ(predicted(p, free_of_cost()).latency_us, 2 * 10 * tensor_clk / 1000);
}

TEST(Predict, ASumOfTwoProductsLoopsTwiceAndStoresOnce) {
  GemmProblem p = problem_of(640, 64, 300);  // ten iterations, the last of them partial
  p.op = Op::mm_plus_mm;
  ModelConstants k = free_of_cost();
  EXPECT_DOUBLE_EQ(predicted(p, k).latency_us, 2 * 10 * tensor_clk / 1000);
  k.cta_clk = 500;
  EXPECT_DOUBLE_EQ(predicted(p, k).prologue_epilogue_us, 0.5);
  const double operands = (640 + 64) * 300 * 2.0;
  EXPECT_DOUBLE_EQ(predicted(p, k).dram_bytes, 2 * operands + 640 * 64 * 2.0);
}

TEST(Predict, LoadsWaitLessTheMoreStagesAreInFlight) {
  ModelConstants k = free_of_cost();
  k.memory_latency_clk = 6000;
  const auto latency_us = [&](int stages) {
    return predicted(problem_of(64, 64, 320), k, config_of(64, 64, 32, 4, stages)).latency_us;
  };
  EXPECT_DOUBLE_EQ(latency_us(1), 10 * 6.0);
  EXPECT_DOUBLE_EQ(latency_us(2), 10 * 6.0);
  EXPECT_DOUBLE_EQ(latency_us(3), 10 * 3.0);
  EXPECT_DOUBLE_EQ(latency_us(5), 10 * 1.5);
  GemmProblem odd = problem_of(64, 64, 320);
  odd.alignment = 1;  // 2 bytes: too narrow for cp.async, so stages hide nothing
  EXPECT_DOUBLE_EQ(predicted(odd, k).latency_us, 10 * 6.0);
  k.exposed = 0.1;  // of the wait, whatever else is going on
  EXPECT_DOUBLE_EQ(latency_us(3), 10 * 3.3);
}

TEST(Predict, ResidentNeighboursHideTheWait) {
  ModelConstants k = free_of_cost();
  k.memory_latency_clk = 6000;  // 3000 clocks of three stages cover five neighbours' 512
  EXPECT_DOUBLE_EQ(predicted(problem_of(3200, 64, 320), k).main_loop_us,
                   predicted(problem_of(64, 64, 320), k).main_loop_us);
}

TEST(Predict, AnIterationHasItsOverhead) {
  ModelConstants k = free_of_cost();
  k.iteration_clk = 100;
  EXPECT_DOUBLE_EQ(predicted(problem_of(64, 64, 320), k).latency_us, 10 * (tensor_clk + 100) / 1000);
  k.load_issue_clk = 10;  // (64 + 64) * 32 * 2 bytes, 16 at a time by 128 threads: 4 loads each
  EXPECT_DOUBLE_EQ(predicted(problem_of(64, 64, 320), k).latency_us, 10 * (tensor_clk + 140) / 1000);
}

TEST(Predict, AWarpHasOneTensorCoreOfFourAndNeedsWorkForIt) {
  EXPECT_DOUBLE_EQ(predicted(problem_of(64, 64, 320), free_of_cost(), config_of(64, 64, 32, 1)).latency_us,
                   4 * 10 * tensor_clk / 1000);
  ModelConstants k = free_of_cost();
  k.mma_per_sm_in_flight = 64;  // 64x64 are 32 instruction tiles of 16x8: half of what would fill the SM
  EXPECT_DOUBLE_EQ(predicted(problem_of(64, 64, 320), k).latency_us, 2 * 10 * tensor_clk / 1000);
  EXPECT_DOUBLE_EQ(predicted(problem_of(1280, 64, 320), k).latency_us, 2 * 10 * tensor_clk / 1000);  // two fill it
}

TEST(Predict, SharedMemoryIsWrittenOnceAndReadByEveryWarpThatNeedsIt) {
  ModelConstants k = free_of_cost();
  k.smem_bytes_per_clk = 8;  // 2x2 warps: each operand of 4096 bytes is read twice and written once
  const Prediction p = predicted(problem_of(640, 64, 320), k);
  EXPECT_DOUBLE_EQ(p.smem_bound_us, 10 * (3 * 8192.0 / 8) / 1000);
  EXPECT_DOUBLE_EQ(p.latency_us, p.smem_bound_us);
}

TEST(Predict, L2MovesTheTilesAndWhatShortRowsWaste) {
  ModelConstants k = free_of_cost();
  k.l2_bytes_per_clk_per_sm = 4;
  EXPECT_DOUBLE_EQ(predicted(problem_of(640, 64, 320), k).latency_us, 10 * (8192.0 / 4) / 1000);
  k.short_row_bytes = 64;  // A: 64 rows of 64 bytes cost 32 more each; B: 32 rows of 128 bytes cost 64 * 64 / 192
  const double wasted = 64 * 32.0 + 32 * 64.0 * 64 / 192;
  EXPECT_DOUBLE_EQ(predicted(problem_of(640, 64, 320), k).l2_bound_us, 10 * ((8192 + wasted) / 4) / 1000);
}

TEST(Predict, SpilledRegistersGoThroughL2) {
  ModelConstants k = free_of_cost();
  k.l2_bytes_per_clk_per_sm = 4;
  KernelResources spilling = small_kernel();
  spilling.spill_bytes = 8;  // of 128 threads, written and read back every iteration
  const Prediction p = predict(problem_of(640, 64, 320), config, round_device(), spilling, k);
  EXPECT_DOUBLE_EQ(p.l2_bound_us, 10 * ((8192 + 2.0 * 8 * 128) / 4) / 1000);
}

TEST(Predict, NarrowLoadsAreMoreLoads) {
  ModelConstants k = free_of_cost();
  k.narrow_load_clk = 10;
  GemmProblem p = problem_of(640, 64, 320);
  p.alignment = 2;  // 8192 bytes: 64 warp-wide loads of 4 bytes a thread, where 16 of 16 bytes would do
  EXPECT_DOUBLE_EQ(predicted(p, k).l2_bound_us, 10 * 10 * (64 - 16) / 1000.0);
}

TEST(Predict, DramMovesOperandsAndResultOnceWhereL2HoldsThem) {
  ModelConstants k = free_of_cost();
  k.dram_efficiency = 0.5;
  const Prediction p = predicted(problem_of(640, 640, 320), k);
  EXPECT_NEAR(p.dram_bytes, 2.0 * (640 * 320 + 320 * 640 + 640 * 640), 1);
  EXPECT_NEAR(p.dram_bound_us, p.dram_bytes / 50e3, 1e-9);
}

TEST(Predict, TheCacheDecidesHowOftenOperandsAreReadAgain) {
  // 5 CTAs on each of 10 SMs: waves of 50 of 20 x 20 tiles, 8 rows high and 50/8 columns wide. All of B is swept for
  // each group of rows, 20/8 times; a row panel of A for each patch of columns, 20/(50/8) times
  DeviceSpec d = round_device();
  d.l2_bytes = 1;
  const double matrix = 2.0 * 1280 * 320;
  const double all = 2.0 * 1280 * 1280 + matrix * (20 / (50.0 / 8)) + matrix * (20 / 8.0);
  EXPECT_NEAR(predicted(problem_of(1280, 1280, 320), free_of_cost(), config, d).dram_bytes, all, 1e-4 * all);
}

TEST(Predict, BoundsContendForAShare) {
  ModelConstants k = free_of_cost();
  k.contention = 0.25;
  k.l2_bytes_per_clk_per_sm = 32;  // 256 clocks an iteration beside the tensor cores' 512
  EXPECT_DOUBLE_EQ(predicted(problem_of(640, 64, 320), k).latency_us, 10 * (tensor_clk + 0.25 * 256) / 1000);
}

TEST(Predict, TheEdgesOfACtaHideBehindItsNeighbours) {
  ModelConstants k = free_of_cost();
  k.cta_clk = 1000;
  k.store_bytes_per_clk_per_sm = 8;  // 64 * 64 * 2 bytes: 1024 clocks
  EXPECT_DOUBLE_EQ(predicted(problem_of(640, 64, 320), k).prologue_epilogue_us, 2.024);
  EXPECT_DOUBLE_EQ(predicted(problem_of(1280, 64, 320), k).prologue_epilogue_us, 2 * 2.024);
  k.overlap = 0.5;  // of one of two neighbours
  EXPECT_DOUBLE_EQ(predicted(problem_of(1280, 64, 320), k).prologue_epilogue_us, 2.024 * (1 + 0.75));
}

TEST(Predict, SplittingKPaysForAWorkspaceAndASecondLaunch) {
  ModelConstants k = free_of_cost();
  k.launch_us = 3;
  k.l2_bytes_per_clk_per_sm = 100;  // 10 SMs at 1000 clocks a microsecond: 1e6 bytes a microsecond
  const GemmProblem p = problem_of(64, 128, 1280);
  EXPECT_EQ(predicted(p, k).reduction_us, 0);
  const Prediction split = predicted(p, k, config_of(64, 64, 32, 4, 3, 5));
  EXPECT_EQ(split.ctas, 10);
  EXPECT_NEAR(split.reduction_us, 3 + 2.0 * 5 * 64 * 128 * 4 / 1e6, 1e-6);
  EXPECT_DOUBLE_EQ(split.main_loop_us, 8 * tensor_clk / 1000);  // 40 iterations in five parts
  EXPECT_DOUBLE_EQ(split.latency_us,
                   split.launch_us + split.prologue_epilogue_us + split.main_loop_us + split.reduction_us);
}

TEST(Predict, HopperNeedsWarpgroupInstructionsForItsPeak) {
  ModelConstants k = free_of_cost();
  k.warpgroup_gain = 1.5;
  DeviceSpec d = round_device();
  d.compute_capability = 90;
  EXPECT_DOUBLE_EQ(predicted(problem_of(640, 64, 320), k, config, d).latency_us, 10 * tensor_clk / 1000);
  EXPECT_DOUBLE_EQ(predicted(problem_of(320, 64, 320), k, config_of(32, 64, 32), d).latency_us,
                   10 * 1.5 * tensor_clk / 2 / 1000);
}

TEST(Predict, WithoutTensorCoreInstructionsTheCudaCoresDoTheWork) {
  KernelResources plain = small_kernel();
  plain.tensor_core_instructions = 0;
  const Prediction p = predict(problem_of(640, 64, 320), config, round_device(), plain, free_of_cost());
  EXPECT_DOUBLE_EQ(p.latency_us, 10 * (64.0 * 64 * 32 / 64) / 1000);
}

TEST(Predict, EstimatesResourcesWhereNoneAreGiven) {
  const GemmProblem p = problem_of(640, 64, 320);
  EXPECT_EQ(predict(p, config, round_device()).resources, estimate_resources(p, config, 86));
}

TEST(Predict, RefusesWhatDoesNotFitWithTheNumbers) {
  try {
    predict(problem_of(512, 512, 512), config_of(256, 256, 64, 8, 4), round_device());
    ADD_FAILURE() << "it was accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(std::string(error.what()),
              "config tiled 256x256x64 w8 s4 g8 does not fit on a device of round numbers: it needs 196608 bytes of "
              "shared memory and 255 registers per thread");
  }
}

}  // namespace
}  // namespace gemm_tuner
