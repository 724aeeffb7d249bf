// Measures what a device can do, by our own kernels (memory.cu, tensor.cu).
#pragma once

#include <optional>

#include "device/driver.hpp"
#include "device/spec.hpp"
#include "tuning/figures.hpp"
#include "tuning/probe.hpp"

namespace gemm_tuner {

struct Calibration {
  DeviceSpec spec;
  Figures figures;
};

/// Runs every probe on the device's `asked.available_sms`, in the current context where there is one on this device,
/// else in its primary context: a MIG slice, an MPS share and a green context are measured as what they are. Takes
/// about two seconds and a quarter of the free memory, 256 MiB or eight times the L2 if that is enough.
///
/// `asked` is what is known of the device so far. NotBuiltError where this build has no probes, or none for that
/// device; CalibrationError where figures make no sense; DriverError.
Calibration calibrate(const Driver& driver, std::optional<int> ordinal, const DeviceSpec& asked, const Build& built);

}  // namespace gemm_tuner
