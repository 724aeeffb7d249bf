#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "device/spec.hpp"

namespace gemm_tuner {
namespace {

DeviceSpec changed(const std::function<void(DeviceSpec&)>& change) {
  DeviceSpec spec;
  spec.name = "NVIDIA GeForce RTX 3060";
  spec.compute_capability = 86;
  spec.sm_count = spec.available_sms = 28;
  spec.clock_mhz = 1777;
  spec.bandwidth_gbs = 360;
  spec.l2_bytes = 3 << 20;
  spec.smem_per_sm_bytes = 102400;
  spec.smem_per_block_optin_bytes = 101376;
  spec.max_threads_per_sm = 1536;
  spec.max_ctas_per_sm = 16;
  spec.fma.fp32 = 128;
  spec.source = "catalogue";
  change(spec);
  return spec;
}

const auto nothing = [](DeviceSpec&) {};

TEST(DeviceSpec, EachFieldIsCheckedAndNamed) {
  EXPECT_NO_THROW(validate(changed(nothing)));
  const auto expect_refused = [](const char* field, const std::function<void(DeviceSpec&)>& change) {
    try {
      validate(changed(change));
      ADD_FAILURE() << field << " was accepted";
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(std::string("'NVIDIA GeForce RTX 3060': ") + field), std::string::npos)
          << error.what();
    }
  };
  expect_refused("compute_capability", [](DeviceSpec& s) { s.compute_capability = 30; });
  expect_refused("sm_count", [](DeviceSpec& s) { s.sm_count = 0; });
  expect_refused("available_sms", [](DeviceSpec& s) { s.available_sms = 29; });
  expect_refused("available_sms", [](DeviceSpec& s) { s.available_sms = 0; });
  expect_refused("clock_mhz", [](DeviceSpec& s) { s.clock_mhz = 0; });
  expect_refused("sustained_fraction", [](DeviceSpec& s) { s.sustained_fraction = 1.1; });
  expect_refused("bandwidth_gbs", [](DeviceSpec& s) { s.bandwidth_gbs = -1; });
  expect_refused("l2_bytes", [](DeviceSpec& s) { s.l2_bytes = 0; });
  expect_refused("smem_per_sm_bytes", [](DeviceSpec& s) { s.smem_per_sm_bytes = 0; });
  expect_refused("smem_per_block_optin_bytes", [](DeviceSpec& s) { s.smem_per_block_optin_bytes = 102401; });
  expect_refused("registers_per_sm", [](DeviceSpec& s) { s.registers_per_sm = 0; });
  expect_refused("max_threads_per_sm", [](DeviceSpec& s) { s.max_threads_per_sm = 31; });
  expect_refused("max_ctas_per_sm", [](DeviceSpec& s) { s.max_ctas_per_sm = 0; });
  expect_refused("fma.fp32", [](DeviceSpec& s) { s.fma.fp32 = 0; });
}

TEST(DeviceSpec, SmBudgetOnlyEverTakesAway) {
  EXPECT_EQ(with_available_sms(changed(nothing), 8).available_sms, 8);
  EXPECT_EQ(with_available_sms(changed(nothing), 100).available_sms, 28);
  EXPECT_THROW(with_available_sms(changed(nothing), 0), std::invalid_argument);
}

TEST(DeviceSpec, IsWrittenInOneLine) {
  EXPECT_EQ(to_string(changed(nothing)), "NVIDIA GeForce RTX 3060 (sm_86, 28 SMs, catalogue)");
  EXPECT_EQ(to_string(with_available_sms(changed(nothing), 8)),
            "NVIDIA GeForce RTX 3060 (sm_86, 8 of 28 SMs, catalogue)");
}

}  // namespace
}  // namespace gemm_tuner
