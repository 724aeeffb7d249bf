// How many SMs a kernel launched now could use, of those that the device has.
#pragma once

#include <optional>
#include <string>

namespace gemm_tuner {

/// What may keep a kernel from some of the SMs. Whatever is not set limits nothing.
struct SmLimits {
  int device_sms = 0;                    // the whole device, or the MIG slice
  std::optional<int> affinity_sms;       // execution affinity of the current context: its MPS share, in SMs
  std::optional<double> mps_percentage;  // CUDA_MPS_ACTIVE_THREAD_PERCENTAGE; the affinity, where known, is preferred
  std::optional<int> green_context_sms;  // SM resource of the current context
  std::optional<int> carveout_sms;       // SMs that torch leaves to other kernels
  std::optional<int> budget_sms;         // what the caller allows

  bool operator==(const SmLimits&) const = default;
};

struct AvailableSms {
  int sms = 0;
  std::string decided_by;  // "device", "MPS share", "green context", "torch's carve-out" or "SM budget"

  bool operator==(const AvailableSms&) const = default;
};

/// The least of the limits, and which it is; the first named above where several agree. At least 1.
/// std::invalid_argument where a limit makes no sense.
AvailableSms available_sms(const SmLimits& limits);

}  // namespace gemm_tuner
