#include "device/architecture.hpp"
#include "device/query.hpp"
#include "stand_in.hpp"

namespace gemm_tuner::testing {
namespace {

using Names = std::vector<std::string>;

DeviceSpec spec_of(const StandIn& stand_in, const CallerLimits& caller = {}) {
  return query_device(stand_in.open(), std::nullopt, caller);
}

TEST(Query, ReadsEveryFieldOfAnRtx3060) {
  const StandIn stand_in("driver_version=12080");
  const DeviceSpec spec = spec_of(stand_in);
  EXPECT_EQ(spec.name, "NVIDIA GeForce RTX 3060");
  EXPECT_EQ(spec.compute_capability, 86);
  EXPECT_EQ(spec.sm_count, 28);
  EXPECT_EQ(spec.available_sms, 28);
  EXPECT_EQ(spec.clock_mhz, 1777);
  EXPECT_NEAR(spec.bandwidth_gbs, 360, 0.1);
  EXPECT_EQ(spec.l2_bytes, 3 << 20);
  EXPECT_EQ(spec.smem_per_sm_bytes, 102400);
  EXPECT_EQ(spec.smem_per_block_optin_bytes, 101376);
  EXPECT_EQ(spec.registers_per_sm, 65536);
  EXPECT_EQ(spec.max_threads_per_sm, 1536);
  EXPECT_EQ(spec.max_ctas_per_sm, 16);
  EXPECT_EQ(spec.fma, architecture(86).fma_halved);
  EXPECT_EQ(spec.driver_version, "12.8");
  EXPECT_EQ(spec.uuid, "GPU-00010203-0405-0607-0809-0a0b0c0d0e00");
  EXPECT_EQ(spec.source, "driver");
  EXPECT_EQ(spec.estimated, (Names{"sustained_fraction"}));
}

TEST(Query, CreatesNoContext) {
  const StandIn stand_in("");
  spec_of(stand_in);
  EXPECT_EQ(stand_in.calls("cuDevicePrimaryCtxRetain"), 0);
  EXPECT_EQ(stand_in.calls("cuCtxPushCurrent_v2"), 0);
  EXPECT_EQ(stand_in.leaks(), 0);
}

TEST(Query, PartsThatAreNotGeForceHaveTheFullRate) {
  for (const char* name : {"NVIDIA A10", "NVIDIA RTX A2000", "NVIDIA TITAN RTX", "NVIDIA L4"})
    EXPECT_FALSE(is_geforce(name));
  EXPECT_TRUE(is_geforce("NVIDIA GeForce RTX 4060 Laptop GPU"));
  EXPECT_EQ(spec_of(StandIn("name=NVIDIA A10;attribute.16=72")).fma, architecture(86).fma);
}

TEST(Query, MigSliceIsNamedAsOne) {
  const DeviceSpec spec =
      spec_of(StandIn("name=NVIDIA A100-SXM4-40GB MIG 1g.5gb;attribute.75=8;attribute.76=0;attribute.16=14"));
  EXPECT_EQ(spec.sm_count, 14);
  EXPECT_EQ(spec.uuid.substr(0, 5), "MIG-0");
  EXPECT_EQ(spec.fma, architecture(80).fma);
}

TEST(Query, WhatTheDriverDoesNotSayIsEstimatedAndNamed) {
  const DeviceSpec spec =
      spec_of(StandIn("attribute.13=0;attribute.36=0;attribute.38=;attribute.81=;attribute.97=;attribute.106="));
  EXPECT_EQ(spec.clock_mhz, 1500);
  EXPECT_EQ(spec.bandwidth_gbs, 280);
  EXPECT_EQ(spec.l2_bytes, 28 * 100 * 1024);
  EXPECT_EQ(spec.smem_per_sm_bytes, architecture(86).smem_per_sm_bytes);
  EXPECT_EQ(spec.smem_per_block_optin_bytes, architecture(86).smem_per_block_optin_bytes);
  EXPECT_EQ(spec.max_ctas_per_sm, architecture(86).max_ctas_per_sm);
  EXPECT_EQ(spec.estimated, (Names{"clock_mhz", "sustained_fraction", "bandwidth_gbs", "l2_bytes", "smem_per_sm_bytes",
                                   "smem_per_block_optin_bytes", "max_ctas_per_sm"}));
}

TEST(Query, UnknownArchitectureBorrowsTheRatesOfItsPredecessor) {
  const DeviceSpec blackwell_ultra = spec_of(StandIn("name=NVIDIA B300;attribute.75=10;attribute.76=3"));
  EXPECT_EQ(blackwell_ultra.compute_capability, 103);
  EXPECT_EQ(blackwell_ultra.fma, architecture(100).fma);
  EXPECT_EQ(blackwell_ultra.estimated.back(), "fma");
}

TEST(Query, BeforeVoltaThereAreNoTensorCores) {
  const DeviceSpec pascal = spec_of(StandIn("name=Tesla P40;attribute.75=6;attribute.76=1"));
  EXPECT_EQ(pascal.fma, (FmaRates{.fp16 = 0, .bf16 = 0, .tf32 = 0, .fp8 = 0, .int8 = 0, .fp32 = 128}));
}

TEST(Query, OrdinalsOutOfRangeSayHowManyThereAre) {
  const StandIn stand_in("devices=2");
  const Driver driver = stand_in.open();
  EXPECT_EQ(device_count(driver), 2);
  EXPECT_EQ(query_device(driver, 1).uuid.substr(38), "01");
  for (const int ordinal : {2, -1}) {
    const auto says = sentence_of<NoDeviceError>([&] { query_device(driver, ordinal); });
    expect_says(says, "no GPU " + std::to_string(ordinal));
    expect_says(says, "shows 2");
  }
}

TEST(Query, WithoutOrdinalTheCurrentContextsDevice) {
  EXPECT_EQ(device_at(StandIn("devices=2;context=other").open(), std::nullopt), 1);
  EXPECT_EQ(device_at(StandIn("devices=2;context=none").open(), std::nullopt), 0);
}

TEST(Query, LimitsOfTheCurrentContextCount) {
  EXPECT_EQ(spec_of(StandIn("context=own;resource_sms=16")).available_sms, 16);
  EXPECT_EQ(spec_of(StandIn("context=own;affinity_sms=7")).available_sms, 7);
  EXPECT_EQ(spec_of(StandIn("context=none;resource_sms=16;affinity_sms=7")).available_sms, 28);
}

TEST(Query, LimitsOfAContextOnAnotherDeviceDoNot) {
  const StandIn stand_in("devices=2;context=other;resource_sms=16");
  EXPECT_EQ(query_device(stand_in.open(), 0).available_sms, 28);
  EXPECT_EQ(query_device(stand_in.open(), 1).available_sms, 16);
}

TEST(Query, OldDriverKnowsNoContextLimits) {
  const StandIn old("context=own;resource_sms=16;affinity_sms=7", FAKE_LIBCUDA_OLD);
  EXPECT_EQ(spec_of(old).available_sms, 28);
}

TEST(Query, ContextLimitsThatAreNotSupportedLimitNothing) {
  for (const int code : {1, 201, 224, 800, 801}) {
    const std::string fault = "=" + std::to_string(code);
    const StandIn stand_in("context=own;fault.cuCtxGetDevResource" + fault + ";fault.cuCtxGetExecAffinity" + fault);
    EXPECT_EQ(spec_of(stand_in).available_sms, 28) << code;
  }
}

TEST(Query, MpsShareCountsWhereMpsIsOnOrUnknown) {
  const CallerLimits half{.carveout_sms = {}, .budget_sms = {}, .mps_percentage = 50};
  EXPECT_EQ(spec_of(StandIn("attribute.133=0"), half).available_sms, 28);
  EXPECT_EQ(spec_of(StandIn("attribute.133=1"), half).available_sms, 14);
  EXPECT_EQ(spec_of(StandIn("attribute.133="), half).available_sms, 14);
}

TEST(Query, CallersLimitsCount) {
  EXPECT_EQ(spec_of(StandIn(""), {.carveout_sms = 8, .budget_sms = {}, .mps_percentage = {}}).available_sms, 20);
  EXPECT_EQ(spec_of(StandIn(""), {.carveout_sms = {}, .budget_sms = 5, .mps_percentage = {}}).available_sms, 5);
}

class QueryFault : public ::testing::TestWithParam<const char*> {};

TEST_P(QueryFault, IsReportedByName) {
  const StandIn broken(std::string("context=own;fault.") + GetParam() + "=719");
  expect_says(sentence_of<DriverError>([&] { query_device(broken.open(), std::nullopt); }),
              std::string(GetParam()) + " failed with CUDA_ERROR_LAUNCH_FAILED");
}

INSTANTIATE_TEST_SUITE_P(Calls, QueryFault,
                         ::testing::Values("cuCtxGetCurrent", "cuCtxGetDevice", "cuDeviceGetName",
                                           "cuDeviceGetAttribute", "cuDeviceGetUuid_v2", "cuCtxGetExecAffinity",
                                           "cuCtxGetDevResource"));

}  // namespace
}  // namespace gemm_tuner::testing
