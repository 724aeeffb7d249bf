#include "stand_in.hpp"
#include "tuning/probe.hpp"

namespace gemm_tuner::testing {
namespace {

// Enough of a module for the double; the real probe is launched by the Python tests, where nvcc built it.
constexpr std::string_view ptx = ".version 6.3\n.target sm_75\n.visible .entry gemm_tuner_mark_sm(";

int reached(const StandIn& stand_in, std::optional<int> ordinal = std::nullopt) {
  return count_reachable_sms(stand_in.open(), ordinal, ptx);
}

TEST(Probe, CountsTheDistinctSmsThatALaunchReaches) {
  EXPECT_EQ(reached(StandIn("")), 28);
  EXPECT_EQ(reached(StandIn("reachable_sms=16")), 16);
}

TEST(Probe, WithoutContextItUsesThePrimaryOneAndGivesItBack) {
  const StandIn stand_in("");
  reached(stand_in);
  EXPECT_EQ(stand_in.calls("cuDevicePrimaryCtxRetain"), 1);
  EXPECT_EQ(stand_in.calls("cuDevicePrimaryCtxRelease_v2"), 1);
  EXPECT_EQ(stand_in.leaks(), 0);
}

TEST(Probe, LaunchesInTheCurrentContextOfTheDevice) {
  const StandIn stand_in("context=own");
  reached(stand_in);
  EXPECT_EQ(stand_in.calls("cuDevicePrimaryCtxRetain"), 0);
  EXPECT_EQ(stand_in.leaks(), 0);
}

TEST(Probe, DoesNotLaunchInAContextOfAnotherDevice) {
  const StandIn stand_in("devices=2;context=other");
  reached(stand_in, 0);
  EXPECT_EQ(stand_in.calls("cuDevicePrimaryCtxRetain"), 1);
  EXPECT_EQ(stand_in.leaks(), 0);
}

TEST(Probe, LostMarksAreNoEvidence) {
  const StandIn stand_in("lost_marks=3");
  const auto says = sentence_of<DriverError>([&] { reached(stand_in); });
  expect_says(says, "launched 448 CTAs and 445 left a mark");
}

TEST(Probe, DevicesBeforeTuringAreToldSo) {
  const StandIn volta("attribute.75=7;attribute.76=0");
  expect_says(sentence_of<NotBuiltError>([&] { reached(volta); }), "this device has 7.0");
}

TEST(Probe, UnreadableImageIsTheDriversError) {
  const StandIn stand_in("");
  const auto says = sentence_of<DriverError>([&] { count_reachable_sms(stand_in.open(), 0, "no PTX"); });
  expect_says(says, "cuModuleLoadData failed with CUDA_ERROR_INVALID_IMAGE");
  EXPECT_EQ(stand_in.leaks(), 0);
}

class ProbeFault : public ::testing::TestWithParam<const char*> {};

TEST_P(ProbeFault, IsReportedByNameAndLeaksNothing) {
  const StandIn broken(std::string("fault.") + GetParam() + "=719");
  expect_says(sentence_of<DriverError>([&] { reached(broken); }), std::string(GetParam()) + " failed");
  EXPECT_EQ(broken.leaks(), 0);
}

INSTANTIATE_TEST_SUITE_P(Calls, ProbeFault,
                         ::testing::Values("cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuModuleLoadData",
                                           "cuModuleGetFunction", "cuMemAlloc_v2", "cuMemsetD32_v2", "cuLaunchKernel",
                                           "cuCtxSynchronize", "cuMemcpyDtoH_v2"));

TEST(Build, SaysWhetherItHasTheProbesOrWhatIsMissing) {
  const Build built = build();
  EXPECT_FALSE(built.compiler.empty());
  EXPECT_NE(built.probe_ptx.empty(), built.missing.empty());
  EXPECT_EQ(built.nvcc.empty(), built.probe_ptx.empty());
  if (!built.probe_ptx.empty()) {
    EXPECT_NE(built.probe_ptx.find("\n.version 6.3\n.target sm_75\n"), std::string_view::npos);
    EXPECT_NE(built.probe_ptx.find(".entry gemm_tuner_mark_sm("), std::string_view::npos);
  }
}

}  // namespace
}  // namespace gemm_tuner::testing
