// What our own CUDA kernels find out about the device.
#pragma once

#include <array>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "device/driver.hpp"

namespace gemm_tuner {

/// tensor.cu, compiled for devices of that compute capability and above; no PTX where nvcc was too old for it.
struct TensorProbe {
  int compute_capability;
  std::string_view ptx;
};

/// What this build was made with. Filled in by CMake (cmake/probes.cmake).
struct Build {
  std::string_view compiler;    // "GNU 12.2.0"
  std::string_view type;        // "Release"
  std::string_view nvcc;        // "13.0.88"; empty where the CUDA probes were not built
  std::string_view missing;     // why they were not, and what to do; empty where they were
  std::string_view probe_ptx;   // probe.cu, for the driver to compile; empty where it was not built
  std::string_view memory_ptx;  // memory.cu, likewise
  std::array<TensorProbe, 3> tensor;
};
Build build();

/// A CUDA probe was asked for that this build does not have.
struct NotBuiltError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Launches CTAs enough to fill the device, in the current context where there is one on this device, else in its
/// primary context, and counts the distinct SMs that they ran on: evidence for available_sms. Blocks for about a
/// millisecond.
int count_reachable_sms(const Driver& driver, std::optional<int> ordinal, std::string_view probe_ptx);

}  // namespace gemm_tuner
