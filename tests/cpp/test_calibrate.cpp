// The run of the probes, on the stand-in driver (a test double, which runs no kernel and answers what it is told).
#include "device/query.hpp"
#include "stand_in.hpp"
#include "tuning/calibrate.hpp"

namespace gemm_tuner::testing {
namespace {

// Enough of a module for the double; the real texts are assembled when the build is configured.
constexpr std::string_view memory_ptx =
    ".version 6.3\n.target sm_75\n.entry gemm_tuner_read( .entry gemm_tuner_copy( .entry gemm_tuner_link( "
    ".entry gemm_tuner_chase( .entry gemm_tuner_nothing(";
constexpr std::string_view tensor_75_ptx =
    ".version 6.5\n.target sm_75\n.entry gemm_tuner_multiply_fp16( .entry gemm_tuner_multiply_int8(";
constexpr std::string_view tensor_80_ptx =
    ".version 7.0\n.target sm_80\n.entry gemm_tuner_multiply_fp16( .entry gemm_tuner_multiply_int8( "
    ".entry gemm_tuner_multiply_bf16( .entry gemm_tuner_multiply_tf32(";
constexpr std::string_view tensor_89_ptx =
    ".version 8.4\n.target sm_89\n.entry gemm_tuner_multiply_fp16( .entry gemm_tuner_multiply_int8( "
    ".entry gemm_tuner_multiply_bf16( .entry gemm_tuner_multiply_tf32( .entry gemm_tuner_multiply_fp8(";

Build whole_build() {
  Build built = build();
  built.memory_ptx = memory_ptx;
  built.tensor = {{{75, tensor_75_ptx}, {80, tensor_80_ptx}, {89, tensor_89_ptx}}};
  return built;
}

Calibration calibration_on(const StandIn& stand_in, const Build& built = whole_build()) {
  const Driver driver = stand_in.open();
  return calibrate(driver, std::nullopt, query_device(driver, std::nullopt, {}), built);
}

TEST(Calibrate, FindsWhatTheDeviceIsToldToBe) {
  const StandIn stand_in("launch_us=3");
  const auto [spec, figures] = calibration_on(stand_in);
  // the double counts the launches, too
  const auto near = [&](const char* name, double value) { EXPECT_NEAR(figures.at(name).value, value, 0.002 * value); };
  near("dram_read_gbs", 336);
  near("dram_copy_gbs", 320);
  near("l2_read_gbs", 1340);
  near("l2_latency_clk", 240);
  near("clock_mhz", 1890);
  near("sustained_clock_mhz", 1800);
  near("launch_us", 5.2);                                   // on the host, then on the GPU
  EXPECT_NEAR(figures.at("next_launch_us").value, 3, 0.1);  // the host is the slower
  near("l2_bytes_per_clk_per_sm", 1340e3 / 1890 / 28);
  near("fma_per_clk_per_sm_fp16", 253);
  near("fma_per_clk_per_sm_tf32", 126.5);
  near("fma_per_clk_per_sm_int8", 1015);
  EXPECT_FALSE(figures.contains("fma_per_clk_per_sm_fp8"));
  EXPECT_EQ(spec.source, "calibrated");
  EXPECT_EQ(spec.clock_mhz, 1890);
  EXPECT_NEAR(spec.sustained_fraction, 1800.0 / 1890, 1e-3);
  EXPECT_EQ(stand_in.leaks(), 0);
}

TEST(Calibrate, NoiseIsSpreadAndNoMoreThanThat) {
  const auto [spec, figures] = calibration_on(StandIn("probe.noise=0.03"));
  EXPECT_NEAR(figures.at("dram_read_gbs").value, 336, 8);
  EXPECT_GT(figures.at("dram_read_gbs").spread, 0.01);
  const StandIn noisy("probe.noise=0.2");
  expect_says(sentence_of<CalibrationError>([&] { calibration_on(noisy); }), "dram_read_gbs (");
  EXPECT_EQ(noisy.leaks(), 0);
}

TEST(Calibrate, APowerLimitShowsInTheSustainedClockAndNowhereElse) {
  const Calibration cool = calibration_on(StandIn(""));
  const Calibration limited = calibration_on(StandIn("throttle_ms=600;throttle_to=0.6"));
  EXPECT_EQ(limited.spec.clock_mhz, cool.spec.clock_mhz);
  EXPECT_NEAR(limited.spec.sustained_fraction, 0.6 * cool.spec.sustained_fraction, 1e-3);
  EXPECT_NEAR(limited.spec.fma.fp16, cool.spec.fma.fp16, 0.1);
  EXPECT_NEAR(limited.spec.bandwidth_gbs, cool.spec.bandwidth_gbs, 0.1);
}

TEST(Calibrate, UsesTheContextThatIsCurrentAndThePrimaryOneElse) {
  const StandIn own("context=own;resource_sms=16");
  const Calibration part = calibration_on(own);
  EXPECT_EQ(own.calls("cuDevicePrimaryCtxRetain"), 0);
  EXPECT_EQ(own.leaks(), 0);
  EXPECT_EQ(part.spec.available_sms, 16);
  EXPECT_NEAR(part.figures.at("l2_bytes_per_clk_per_sm").value, 1340e3 / 1890 / 16, 0.2);
  const StandIn none("");
  calibration_on(none);
  EXPECT_EQ(none.calls("cuDevicePrimaryCtxRetain"), 1);
  EXPECT_EQ(none.calls("cuDevicePrimaryCtxRelease_v2"), 1);
}

TEST(Calibrate, RunsTheProbesOfTheNewestArchitectureThatTheDeviceUnderstands) {
  const auto dtypes = [](const char* capability, const Build& built = whole_build()) {
    std::string names;
    const StandIn stand_in(std::string(capability) + ";name=NVIDIA Stand-in;probe.clock=1700;probe.clock_busy=1500");
    for (const auto& [name, figure] : calibration_on(stand_in, built).figures) {
      if (name.starts_with(fma_prefix)) names += name.substr(std::string(fma_prefix).size()) + " ";
    }
    return names;
  };
  EXPECT_EQ(dtypes("attribute.75=7;attribute.76=5"), "fp16 int8 ");
  EXPECT_EQ(dtypes("attribute.75=8;attribute.76=0"), "bf16 fp16 int8 tf32 ");
  EXPECT_EQ(dtypes("attribute.75=8;attribute.76=9"), "bf16 fp16 fp8 int8 tf32 ");
  EXPECT_EQ(dtypes("attribute.75=12;attribute.76=0"), "bf16 fp16 fp8 int8 tf32 ");
  EXPECT_EQ(dtypes("attribute.75=9;attribute.76=0"), "fp16 ");
  Build by_an_older_nvcc = whole_build();
  by_an_older_nvcc.tensor[2].ptx = "";
  EXPECT_EQ(dtypes("attribute.75=8;attribute.76=9", by_an_older_nvcc), "bf16 fp16 int8 tf32 ");
}

TEST(Calibrate, ABuildWithoutProbesSaysSo) {
  const StandIn stand_in("");
  Build without = whole_build();
  without.memory_ptx = "";
  without.missing = "nvcc was not found: install it.";
  expect_says(sentence_of<NotBuiltError>([&] { calibration_on(stand_in, without); }),
              "nvcc was not found: install it.");
  const StandIn volta("attribute.75=7;attribute.76=0");
  expect_says(sentence_of<NotBuiltError>([&] { calibration_on(volta); }), "has 7.0");
}

TEST(Calibrate, TooLittleFreeMemoryIsSaidInNumbers) {
  const StandIn full("memory_mb=30");
  expect_says(sentence_of<CalibrationError>([&] { calibration_on(full); }), "30 MiB of its memory are free");
  EXPECT_EQ(full.leaks(), 0);
  EXPECT_EQ(calibration_on(StandIn("memory_mb=200")).spec.source, "calibrated");
}

TEST(Calibrate, WhatTheKernelsDidNotWriteIsNoEvidence) {
  const StandIn stuck("probe.stuck=1");
  expect_says(sentence_of<CalibrationError>([&] { calibration_on(stuck); }), "left no time behind");
  EXPECT_EQ(stuck.leaks(), 0);
}

TEST(Calibrate, SillyRatesAreRefused) {
  expect_says(sentence_of<CalibrationError>([] { calibration_on(StandIn("probe.read=500")); }), "above the 360");
  expect_says(sentence_of<CalibrationError>([] { calibration_on(StandIn("probe.multiply_int8=3000")); }),
              "above the 1024");
}

class CalibrateFault : public ::testing::TestWithParam<const char*> {};

TEST_P(CalibrateFault, IsReportedByNameAndLeaksNothing) {
  const StandIn broken(std::string("fault.") + GetParam() + "=719");
  expect_says(sentence_of<DriverError>([&] { calibration_on(broken); }), std::string(GetParam()) + " failed");
  EXPECT_EQ(broken.leaks(), 0);
}

INSTANTIATE_TEST_SUITE_P(Calls, CalibrateFault,
                         ::testing::Values("cuDevicePrimaryCtxRetain", "cuModuleLoadData", "cuModuleGetFunction",
                                           "cuMemGetInfo_v2", "cuMemAlloc_v2", "cuMemsetD32_v2", "cuEventCreate",
                                           "cuEventRecord", "cuLaunchKernel", "cuEventSynchronize",
                                           "cuEventElapsedTime", "cuCtxSynchronize", "cuMemcpyDtoH_v2"));

TEST(Build, EmbedsEachProbeForItsOwnArchitectureOrNone) {
  const Build built = build();
  EXPECT_EQ(built.memory_ptx.empty(), built.probe_ptx.empty());
  if (built.memory_ptx.empty()) return;
  EXPECT_NE(built.memory_ptx.find("\n.version 6.3\n.target sm_75\n"), std::string_view::npos);
  for (const auto& [capability, ptx] : built.tensor) {
    if (ptx.empty() && capability == 89) continue;  // before CUDA 12.4
    EXPECT_NE(ptx.find("\n.target sm_" + std::to_string(capability)), std::string_view::npos);
    EXPECT_NE(ptx.find(".entry gemm_tuner_multiply_fp16("), std::string_view::npos);
    EXPECT_EQ(ptx.find(".entry gemm_tuner_multiply_fp8(") != std::string_view::npos, capability == 89);
  }
}

}  // namespace
}  // namespace gemm_tuner::testing
