#include <array>
#include <optional>
#include <thread>

#include "launch/launcher.hpp"
#include "stand_in.hpp"

namespace gemm_tuner::testing {
namespace {

constexpr int threads = 4;
constexpr int launches_each = 200;

Launch product(std::vector<Argument> arguments = {"a", "b", "c", 7, std::int64_t{1} << 40, nullptr}) {
  return {.cubin = "FAKECUBIN tiled(pppilp)",
          .entry = "tiled",
          .grid = {4, 2, 1},
          .num_warps = 8,
          .arguments = std::move(arguments)};
}

cuda::Stream stream_at(std::uintptr_t address) { return reinterpret_cast<cuda::Stream>(address); }

TEST(Launcher, ArgumentsArriveAsTheyWereGiven) {
  const StandIn stand_in("log=1");
  Launcher launcher(stand_in.open(), 0);
  const LoadedKernel kernel = launcher.load({product()});
  EXPECT_EQ(kernel.operands(), (std::vector<std::string>{"a", "b", "c"}));
  kernel.enqueue(nullptr, std::array<cuda::Address, 3>{16, 32, 48});
  kernel.enqueue(nullptr, std::array<cuda::Address, 3>{64, 32, 80});
  EXPECT_EQ(stand_in.launched(0), "tiled 4 2 1 256 0 0 1 16 32 48 7 1099511627776 0");
  EXPECT_EQ(stand_in.launched(1), "tiled 4 2 1 256 0 0 1 64 32 80 7 1099511627776 0");
}

TEST(Launcher, SeveralLaunchesShareOperandsByName) {
  const StandIn stand_in("log=1");
  Launcher launcher(stand_in.open(), 0);
  const LoadedKernel kernel = launcher.load(
      {{.cubin = "FAKECUBIN split(ppp)", .entry = "split", .arguments = {"a", "b", "parts"}},
       {.cubin = "FAKECUBIN add(ppi)", .entry = "add", .grid = {9, 1, 1}, .arguments = {"parts", "c", 3}}});
  EXPECT_EQ(kernel.operands(), (std::vector<std::string>{"a", "b", "parts", "c"}));
  kernel.enqueue(nullptr, std::array<cuda::Address, 4>{1, 2, 3, 4});
  EXPECT_EQ(stand_in.launched(0), "split 1 1 1 128 0 0 1 1 2 3");
  EXPECT_EQ(stand_in.launched(1), "add 9 1 1 128 0 0 1 3 4 3");
}

TEST(Launcher, ScratchIsAnOperandAsLargeAsTheLargestNeedsIt) {
  const StandIn stand_in("log=1");
  Launcher launcher(stand_in.open(), 0);
  Launch first = product({"a", "b", "c", 7, std::int64_t{0}, nullptr});
  first.cubin = "FAKECUBIN tiled(pppippp)";
  first.arguments = {"a", "b", "c", 7, nullptr, nullptr, nullptr};
  first.global_scratch_bytes = 128;
  Launch second = first;
  second.global_scratch_bytes = 64;
  const LoadedKernel kernel = launcher.load({first, second});
  EXPECT_EQ(kernel.operands().back(), "global_scratch");
  EXPECT_EQ(kernel.scratch_bytes(), 8U * 128);
  kernel.enqueue(nullptr, std::array<cuda::Address, 4>{1, 2, 3, 99});
  EXPECT_EQ(stand_in.launched(1), "tiled 4 2 1 256 0 0 1 1 2 3 7 0 99 0");
}

TEST(Launcher, ACubinIsLoadedOnceAndUnloadedWithItsLastKernel) {
  const StandIn stand_in("");
  {
    std::optional<LoadedKernel> kernel;
    {
      Launcher launcher(stand_in.open(), 0);
      kernel = launcher.load({product(), product()});
      Launch large = product();
      large.smem_bytes = 64 << 10;
      launcher.load({large});
      EXPECT_EQ(launcher.loaded(), 2);
      EXPECT_EQ(stand_in.calls("cuLibraryLoadData"), 2);
      EXPECT_EQ(stand_in.calls("cuKernelSetAttribute"), 1);
    }
    kernel->enqueue(nullptr, std::array<cuda::Address, 3>{1, 2, 3});
    EXPECT_GT(stand_in.leaks(), 0);
  }
  EXPECT_EQ(stand_in.leaks(), 0);
}

TEST(Launcher, TheDevicesContextIsCurrentForTheLaunchAndNoLonger) {
  const StandIn stand_in("log=1;devices=2;context=own");
  Launcher here(stand_in.open(), 0);
  Launcher there(stand_in.open(), 1);
  const int pushed = stand_in.calls("cuCtxPushCurrent_v2");
  here.load({product()}).enqueue(stream_at(0), std::array<cuda::Address, 3>{});
  EXPECT_EQ(stand_in.calls("cuCtxPushCurrent_v2"), pushed);  // it was current
  there.load({product()}).enqueue(stream_at(0), std::array<cuda::Address, 3>{});
  EXPECT_EQ(stand_in.launched(0), "tiled 4 2 1 256 0 0 1 0 0 0 7 1099511627776 0");
  EXPECT_EQ(stand_in.launched(1), "tiled 4 2 1 256 0 0 2 0 0 0 7 1099511627776 0");
  const Driver driver = stand_in.open();
  cuda::Device device = -1;
  driver.call(driver.cuCtxGetDevice, &device);
  EXPECT_EQ(device, 0);
}

TEST(Launcher, OldDriversLaunchFunctionsOfTheirContext) {
  const StandIn stand_in("driver_version=11040;log=1", FAKE_LIBCUDA_OLD);
  {
    Launcher launcher(stand_in.open(), 0);
    Launch large = product();
    large.smem_bytes = 64 << 10;
    launcher.load({large}).enqueue(nullptr, std::array<cuda::Address, 3>{1, 2, 3});
    EXPECT_EQ(stand_in.launched(0), "tiled 4 2 1 256 65536 0 1 1 2 3 7 1099511627776 0");
  }
  EXPECT_EQ(stand_in.leaks(), 0);
}

TEST(Launcher, ThreadsShareAKernelAndNoArguments) {
  const StandIn stand_in("log=1");
  {
    Launcher launcher(stand_in.open(), 0);
    std::vector<std::thread> running;
    for (std::uintptr_t thread = 1; thread <= threads; ++thread) {
      running.emplace_back([&, thread] {
        const LoadedKernel kernel = launcher.load({product()});
        for (int i = 0; i < launches_each; ++i) {
          kernel.enqueue(stream_at(thread), std::array<cuda::Address, 3>{thread, thread, thread});
        }
      });
    }
    for (std::thread& thread : running) thread.join();
    EXPECT_EQ(launcher.loaded(), 1);
  }
  for (int i = 0; i < threads * launches_each; ++i) {
    const std::string line = stand_in.launched(i);
    const std::string stream = line.substr(std::string("tiled 4 2 1 256 0 ").size(), 1);
    EXPECT_EQ(line,
              "tiled 4 2 1 256 0 " + stream + " 1 " + stream + " " + stream + " " + stream + " 7 1099511627776 0");
  }
  EXPECT_EQ(stand_in.launched(threads * launches_each), "");
  EXPECT_EQ(stand_in.leaks(), 0);
}

TEST(Launcher, WhatIsAskedIsChecked) {
  const StandIn stand_in("");
  Launcher launcher(stand_in.open(), 0);
  const auto says = [](auto act) { return sentence_of<std::invalid_argument>(act); };
  expect_says(says([&] { launcher.load({}); }), "nothing to load");
  expect_says(says([&] { launcher.load({product({"a"})}); }), "takes 6 parameters (bytes of each: 8, 8, 8, 4, 8, 8)");
  expect_says(says([&] { launcher.load({product(std::vector<Argument>(65))}); }), "up to 64 arguments, got 65");
  expect_says(says([&] { launcher.load({product()}).enqueue(nullptr, std::array<cuda::Address, 2>{}); }),
              "addresses of 3 operands, got 2");
  expect_says(sentence_of<NoDeviceError>([&] { Launcher(stand_in.open(), 5); }), "5");
}

TEST(Launcher, ADriverThatAnswersNoMoreIsLeftInPeace) {
  const StandIn stand_in("");
  auto launcher = std::make_unique<Launcher>(stand_in.open(), 0);
  launcher->load({product()});
  const StandIn gone("fault.cuCtxPushCurrent_v2=4");
  launcher.reset();
  EXPECT_EQ(gone.calls("cuLibraryUnload"), 1);
}

class LauncherFault : public ::testing::TestWithParam<const char*> {};

TEST_P(LauncherFault, IsReportedByNameAndLeaksNothing) {
  const StandIn broken(std::string("fault.") + GetParam() + "=719");
  const auto says = sentence_of<DriverError>([&] {
    Launcher launcher(broken.open(), 0);
    Launch large = product();
    large.smem_bytes = 64 << 10;
    launcher.load({large}).enqueue(nullptr, std::array<cuda::Address, 3>{});
  });
  expect_says(says, std::string(GetParam()) + " failed with CUDA_ERROR_LAUNCH_FAILED");
  EXPECT_EQ(broken.leaks(), 0);
}

INSTANTIATE_TEST_SUITE_P(Calls, LauncherFault,
                         ::testing::Values("cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuLibraryLoadData",
                                           "cuLibraryGetKernel", "cuKernelGetFunction", "cuKernelSetAttribute",
                                           "cuLaunchKernel"));

}  // namespace
}  // namespace gemm_tuner::testing
