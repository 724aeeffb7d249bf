#include <cmath>
#include <cstring>
#include <fstream>

#include "stand_in.hpp"
#include "tuning/fill.hpp"
#include "tuning/timer.hpp"

namespace gemm_tuner::testing {
namespace {

const std::vector<Operand> operands{{"a", 4096, "float16"}, {"c", 4096, "poison"}, {"verdict", 8, "zeros", true}};

Launch launch(std::vector<Argument> arguments = {"a", "c", 64}, const std::string& image = "FAKECUBIN tiled(ppi)") {
  return {.cubin = image, .entry = "tiled", .grid = {4, 1, 1}, .arguments = std::move(arguments)};
}

/// A Timer on the double with those operands.
struct Bench {
  explicit Bench(const std::string& told, int sm_count = 0, const char* path = FAKE_LIBCUDA)
      : stand_in(told, path), timer(stand_in.open(), 0, sm_count, path) {
    timer.allocate(operands, 0);
  }
  StandIn stand_in;
  Timer timer;
};

TEST(Layout, OperandsAreAlignedAndSetsExceedTwiceTheL2) {
  const ArenaLayout layout = layout_of({{"a", 1000, "float16"}, {"b", 257, "int8"}}, 100'000, 1 << 30);
  EXPECT_EQ(layout.places.at("a").offset, 0U);
  EXPECT_EQ(layout.places.at("b").offset, 1024U);
  EXPECT_EQ(layout.set_bytes, 1536U);
  EXPECT_EQ(layout.places.at("a").stride, 1536U);
  EXPECT_GT(static_cast<std::size_t>(layout.sets) * 1536, 200'000U);
  EXPECT_LE(static_cast<std::size_t>(layout.sets - 1) * 1536, 200'000U);
}

TEST(Layout, LargeOperandsHaveTwoSetsAndFewerWhereMemoryEnds) {
  const std::vector<Operand> large{{"a", 1 << 20, "float16"}};
  EXPECT_EQ(layout_of(large, 1 << 10, 1 << 30).sets, 2);
  EXPECT_EQ(layout_of(large, 1 << 30, 5 << 20).sets, 4);
  EXPECT_EQ(layout_of(large, 1 << 30, 1 << 10).sets, 1);
}

TEST(Layout, SharedOperandsAreThereOnceAndCountForNoSet) {
  const ArenaLayout layout = layout_of({{"a", 256, "float16"}, {"e", 1 << 20, "zeros", true}}, 1 << 10, 1 << 30);
  EXPECT_EQ(layout.places.at("e").offset, 0U);
  EXPECT_EQ(layout.places.at("e").stride, 0U);
  EXPECT_EQ(layout.places.at("a").offset, std::size_t{1} << 20);
  EXPECT_EQ(layout.sets, 9);
}

TEST(Layout, NonsenseIsNamed) {
  const auto says = [](const std::vector<Operand>& given) {
    return sentence_of<std::invalid_argument>([&] { layout_of(given, 1, 1); });
  };
  expect_says(says({{"a", 0, "zeros"}}), "operand 'a' must have at least 1 byte");
  expect_says(says({{"a", 1, "zeros"}, {"a", 1, "zeros"}}), "two operands are called 'a'");
  expect_says(says({{"a", 1, "half"}}), "got 'half'");
  expect_says(says({{"", 1, "zeros"}}), "must have a name");
}

TEST(Fill, ASeedIsASequence) {
  const auto bytes = random_period("float16", 7, 8);
  std::uint16_t first = 0;
  std::memcpy(&first, bytes.data(), sizeof first);
  EXPECT_EQ(first, 0xb134);  // -0.1626, as Python computes it
  EXPECT_NE(bytes, random_period("float16", 8, 8));
}

TEST(Fill, Float32HoldsWhatTheHalfTypesRound) {
  const std::size_t elements = 1000;
  const auto exact = random_period("float32", 1, 4 * elements);
  const auto rounded = random_period("bfloat16", 1, 2 * elements);
  for (std::size_t i = 0; i < elements; ++i) {
    float value = 0;
    std::uint32_t bits = 0;
    std::memcpy(&value, &exact[4 * i], 4);
    std::memcpy(reinterpret_cast<char*>(&bits) + 2, &rounded[2 * i], 2);
    float near = 0;
    std::memcpy(&near, &bits, 4);
    EXPECT_LE(std::abs(near - value), std::ldexp(std::abs(value), -8)) << i;
  }
}

TEST(Timer, WorksInThePrimaryContextAndGivesAllBack) {
  const StandIn stand_in("context=none");
  {
    Timer timer(stand_in.open(), 0, 0);
    timer.allocate(operands, 0);
    timer.run(timer.load({launch()}), 0);
    EXPECT_EQ(stand_in.calls("cuDevicePrimaryCtxRetain"), 1);
    EXPECT_GT(stand_in.leaks(), 0);
  }
  EXPECT_EQ(stand_in.leaks(), 0);
}

TEST(Timer, LeavesTheCallersContextCurrent) {
  Bench bench("devices=2;context=other");
  EXPECT_EQ(bench.timer.time(bench.timer.load({launch()}), 1, 1).size(), 1U);
  const Driver driver = bench.stand_in.open();
  cuda::Device device = -1;
  driver.call(driver.cuCtxGetDevice, &device);
  EXPECT_EQ(device, 1);
}

TEST(Timer, TheHostsSlownessIsNotTheKernels) {
  Bench bench("default_us=1.5;launch_us=3");  // alone, each launch would be waited for
  EXPECT_NEAR(bench.timer.time(bench.timer.load({launch()}), 1, {})[0], 1.5, 0.01);
}

TEST(Timer, AKernelGetsTheScratchThatTheCompilerAskedFor) {
  Bench bench("");
  Launch with_scratch = launch({"a", nullptr, nullptr}, "FAKECUBIN tiled(ppp)");
  const int before = bench.stand_in.calls("cuMemAlloc_v2");
  bench.timer.load({with_scratch});
  EXPECT_EQ(bench.stand_in.calls("cuMemAlloc_v2"), before);
  with_scratch.global_scratch_bytes = 128;
  bench.timer.load({with_scratch});
  EXPECT_EQ(bench.stand_in.calls("cuMemAlloc_v2"), before + 1);
  with_scratch.arguments = {"a", "c", nullptr};
  expect_says(sentence_of<std::invalid_argument>([&] { bench.timer.load({with_scratch}); }), "last argument but one");
}

TEST(Timer, OldDriversTimeWithoutPartitionsOrVerifiedParameters) {
  Bench bench("driver_version=11040;default_us=5", 0, FAKE_LIBCUDA_OLD);
  EXPECT_NEAR(bench.timer.time(bench.timer.load({launch()}), 1, {})[0], 5, 0.01);
  const auto says = sentence_of<DriverError>([] { Bench("driver_version=11040", 16, FAKE_LIBCUDA_OLD); });
  expect_says(says, "since CUDA 12.5; this one is for CUDA 11.4");
  EXPECT_GT(bench.timer.sm_count(), 0);
}

TEST(Timer, EventsGoThroughTheStreamWhereItTakesThem) {
  Bench bench("green_events=stream;default_us=5", 16);
  EXPECT_EQ(bench.timer.sm_count(), 16);
  EXPECT_NEAR(bench.timer.time(bench.timer.load({launch()}), 1, {})[0], 5, 0.01);
  EXPECT_EQ(bench.stand_in.calls("cuGreenCtxRecordEvent"), 0);
}

TEST(Timer, PartitionsAreWhatTheDriverCanCut) {
  EXPECT_EQ(Bench("sm_granularity=8", 9).timer.sm_count(), 16);
  expect_says(sentence_of<DriverError>([] { Bench("sm_granularity=8", 27); }), "INVALID_RESOURCE_CONFIGURATION");
}

TEST(Timer, WhatIsAskedIsChecked) {
  Bench bench("");
  const int handle = bench.timer.load({launch()});
  const auto says = [](auto act) { return sentence_of<std::invalid_argument>(act); };
  expect_says(says([&] { bench.timer.time(handle, 0, {}); }), "repeats must be at least 1");
  expect_says(says([&] { bench.timer.time(handle, 1, 0); }), "launches must be at least 1");
  expect_says(says([&] { bench.timer.run(handle, -1); }), "set must be from 0");
  expect_says(says([&] { bench.timer.load({}); }), "nothing to load");
  expect_says(says([&] { bench.timer.unload(99); }), "handle 99");
}

class TimerFault : public ::testing::TestWithParam<const char*> {};

TEST_P(TimerFault, IsReportedByNameAndLeaksNothing) {
  const StandIn broken(std::string("fault.") + GetParam() + "=719");
  const auto says = sentence_of<DriverError>([&] {
    Timer timer(broken.open(), 0, 16);
    timer.allocate(operands, 0);
    Launch large = launch();
    large.smem_bytes = 64 << 10;
    const int handle = timer.load({large});
    timer.run(handle, 0);
    timer.time(handle, 1, {});
    timer.read("c", 0);
  });
  expect_says(says, std::string(GetParam()) + " failed with CUDA_ERROR_LAUNCH_FAILED");
  EXPECT_EQ(broken.leaks(), 0);
}

INSTANTIATE_TEST_SUITE_P(Calls, TimerFault,
                         ::testing::Values("cuDeviceGetPCIBusId", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2",
                                           "cuDeviceGetDevResource", "cuDevSmResourceSplitByCount",
                                           "cuDevResourceGenerateDesc", "cuGreenCtxCreate", "cuGreenCtxStreamCreate",
                                           "cuEventCreate", "cuMemAlloc_v2", "cuMemGetInfo_v2", "cuMemsetD32Async",
                                           "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoDAsync_v2", "cuStreamSynchronize",
                                           "cuLibraryLoadData", "cuLibraryGetKernel", "cuKernelGetFunction",
                                           "cuKernelSetAttribute", "cuLaunchKernel", "cuGreenCtxRecordEvent",
                                           "cuEventSynchronize", "cuEventElapsedTime", "cuMemcpyDtoHAsync_v2"));

TEST(Timer, ABrokenContextIsGivenBackWhole) {
  const std::string path = ::testing::TempDir() + "gemm_tuner_times.tsv";
  std::ofstream(path) << "0\t*\t1\n";  // the double reads it; the kernel below is told by default_us
  const StandIn stand_in("times=" + path + ";fault.cuLaunchKernel=700");
  {
    Timer timer(stand_in.open(), 0, 16);
    timer.allocate(operands, 0);
    const int handle = timer.load({launch()});
    EXPECT_THROW(timer.run(handle, 0), DriverError);
  }
  EXPECT_EQ(stand_in.leaks(), 0);
}

class NvmlFault : public ::testing::TestWithParam<const char*> {};

TEST_P(NvmlFault, LeavesOutWhatIsNotTold) {
  Bench bench(std::string("fault.") + GetParam() + "=3");
  const std::optional<Clocks> clocks = bench.timer.clocks();
  const bool all = std::string(GetParam()) == "nvmlInit_v2" || std::string(GetParam()).ends_with("BusId_v2");
  EXPECT_EQ(clocks.has_value(), !all);
  if (clocks) {
    EXPECT_EQ(clocks->sm_mhz.has_value(), std::string(GetParam()) != "nvmlDeviceGetClockInfo");
    EXPECT_EQ(clocks->power_w.has_value(), std::string(GetParam()) != "nvmlDeviceGetPowerUsage");
  }
}

INSTANTIATE_TEST_SUITE_P(Calls, NvmlFault,
                         ::testing::Values("nvmlInit_v2", "nvmlDeviceGetHandleByPciBusId_v2", "nvmlDeviceGetClockInfo",
                                           "nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage"));

}  // namespace
}  // namespace gemm_tuner::testing
