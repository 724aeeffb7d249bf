// The driver's answers as values. Nothing here creates a context.
#pragma once

#include <optional>
#include <string_view>

#include "device/available.hpp"
#include "device/driver.hpp"
#include "device/spec.hpp"

namespace gemm_tuner {

/// What only the caller can know of the limits on SMs.
struct CallerLimits {
  std::optional<int> carveout_sms;
  std::optional<int> budget_sms;
  std::optional<double> mps_percentage;
};

/// Devices that the driver shows, CUDA_VISIBLE_DEVICES obeyed.
int device_count(const Driver& driver);

/// The device of this ordinal; without one, that of the current context, else the first.
/// NoDeviceError where there is none, naming how many there are.
cuda::Device device_at(const Driver& driver, std::optional<int> ordinal);

/// The context current on this thread where it is one of this device, else nullptr.
cuda::Context current_context(const Driver& driver, cuda::Device device);

/// nullopt where the driver does not know the attribute or has nothing to say of it.
std::optional<int> attribute(const Driver& driver, cuda::Device device, cuda::Attribute which);

SmLimits sm_limits(const Driver& driver, cuda::Device device, const CallerLimits& caller = {});

/// Everything that the driver tells of a device. What it cannot tell (tensor-core rates) comes from the architecture;
/// what is missing is estimated and listed in `estimated`.
DeviceSpec query_device(const Driver& driver, std::optional<int> ordinal, const CallerLimits& caller = {});

/// Do its tensor cores accumulate in float32 at half the rate? GeForce parts do, and no others: TITAN RTX, the RTX A
/// and Ada workstation parts and the data-centre parts of the same chips run at the full rate (Turing, GA102, Ada
/// papers).
bool is_geforce(std::string_view name);

}  // namespace gemm_tuner
