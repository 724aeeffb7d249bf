#include <gtest/gtest.h>

#include <stdexcept>

#include "device/available.hpp"

namespace gemm_tuner {
namespace {

SmLimits device_of(int sms) {
  SmLimits limits;
  limits.device_sms = sms;
  return limits;
}

TEST(AvailableSms, WithoutLimitsTheWholeDevice) {
  EXPECT_EQ(available_sms(device_of(28)), (AvailableSms{28, "device"}));
}

TEST(AvailableSms, EachLimitAloneDecides) {
  SmLimits limits = device_of(100);
  limits.affinity_sms = 40;
  EXPECT_EQ(available_sms(limits), (AvailableSms{40, "MPS share"}));
  limits = device_of(100);
  limits.green_context_sms = 16;
  EXPECT_EQ(available_sms(limits), (AvailableSms{16, "green context"}));
  limits = device_of(100);
  limits.carveout_sms = 30;
  EXPECT_EQ(available_sms(limits), (AvailableSms{70, "torch's carve-out"}));
  limits = device_of(100);
  limits.budget_sms = 8;
  EXPECT_EQ(available_sms(limits), (AvailableSms{8, "SM budget"}));
}

TEST(AvailableSms, LeastOfAllDecides) {
  SmLimits limits = device_of(132);
  limits.affinity_sms = 66;
  limits.green_context_sms = 32;
  limits.carveout_sms = 8;
  limits.budget_sms = 48;
  EXPECT_EQ(available_sms(limits), (AvailableSms{32, "green context"}));
}

TEST(AvailableSms, MpsPercentageIsRoundedUpToWholeSms) {
  SmLimits limits = device_of(28);
  limits.mps_percentage = 10;  // 2.8 SMs
  EXPECT_EQ(available_sms(limits), (AvailableSms{3, "MPS share"}));
  limits.mps_percentage = 100;
  EXPECT_EQ(available_sms(limits).decided_by, "device");
}

TEST(AvailableSms, AffinityIsPreferredToThePercentage) {
  SmLimits limits = device_of(28);
  limits.mps_percentage = 10;
  limits.affinity_sms = 6;
  EXPECT_EQ(available_sms(limits), (AvailableSms{6, "MPS share"}));
}

TEST(AvailableSms, AtLeastOneIsLeft) {
  SmLimits limits = device_of(28);
  limits.carveout_sms = 28;
  EXPECT_EQ(available_sms(limits), (AvailableSms{1, "torch's carve-out"}));
}

TEST(AvailableSms, SenselessLimitsAreRefused) {
  EXPECT_THROW(available_sms(device_of(0)), std::invalid_argument);
  SmLimits limits = device_of(28);
  limits.budget_sms = 0;
  EXPECT_THROW(available_sms(limits), std::invalid_argument);
  limits = device_of(28);
  limits.carveout_sms = -1;
  EXPECT_THROW(available_sms(limits), std::invalid_argument);
  for (const double percentage : {0.0, -1.0, 100.5}) {
    limits = device_of(28);
    limits.mps_percentage = percentage;
    EXPECT_THROW(available_sms(limits), std::invalid_argument) << percentage;
  }
}

}  // namespace
}  // namespace gemm_tuner
