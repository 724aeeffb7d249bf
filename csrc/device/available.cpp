#include "device/available.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace gemm_tuner {
namespace {

void require(bool holds, const std::string& sentence) {
  if (!holds) throw std::invalid_argument(sentence);
}

void validate(const SmLimits& limits) {
  require(limits.device_sms >= 1, "a device has at least 1 SM, got " + std::to_string(limits.device_sms));
  if (limits.mps_percentage) {
    require(*limits.mps_percentage > 0 && *limits.mps_percentage <= 100,
            "the MPS share must be above 0 and at most 100 percent, got " + std::to_string(*limits.mps_percentage));
  }
  if (limits.carveout_sms) {
    require(*limits.carveout_sms >= 0,
            "the SM carve-out must be at least 0, got " + std::to_string(*limits.carveout_sms));
  }
  if (limits.budget_sms) {
    require(*limits.budget_sms >= 1, "the SM budget must be at least 1, got " + std::to_string(*limits.budget_sms));
  }
}

}  // namespace

AvailableSms available_sms(const SmLimits& limits) {
  validate(limits);
  AvailableSms least{limits.device_sms, "device"};
  const auto limit = [&](std::optional<int> sms, const char* name) {
    if (sms && std::max(*sms, 1) < least.sms) least = {std::max(*sms, 1), name};
  };
  if (limits.affinity_sms) {
    limit(limits.affinity_sms, "MPS share");
  } else if (limits.mps_percentage) {
    // rounded up to whole SMs, as MPS rounds a share up to what the hardware can partition
    limit(static_cast<int>(std::ceil(limits.device_sms * *limits.mps_percentage / 100)), "MPS share");
  }
  limit(limits.green_context_sms, "green context");
  // as cuBLAS in torch counts it: off the whole device, whatever else limits
  if (limits.carveout_sms) limit(limits.device_sms - *limits.carveout_sms, "torch's carve-out");
  limit(limits.budget_sms, "SM budget");
  return least;
}

}  // namespace gemm_tuner
