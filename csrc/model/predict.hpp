// The performance model: how long a config takes on a device, and what that time is made of. Pure arithmetic.
#pragma once

#include <optional>

#include "device/spec.hpp"
#include "gemm/config.hpp"
#include "gemm/problem.hpp"
#include "model/constants.hpp"
#include "model/occupancy.hpp"

namespace gemm_tuner {

/// A predicted latency with its parts. Times in microseconds; each *_bound_us is what the main loop would take if only
/// that resource limited it.
struct Prediction {
  GemmConfig config;
  KernelResources resources;
  double latency_us = 0;
  double launch_us = 0;
  double prologue_epilogue_us = 0;
  double main_loop_us = 0;
  double reduction_us = 0;  // split-K and stream-K: adding up the parts
  double tensor_bound_us = 0;
  double smem_bound_us = 0;
  double l2_bound_us = 0;
  double dram_bound_us = 0;
  double latency_bound_us = 0;
  double dram_bytes = 0;
  long long ctas = 0;
  double waves = 0;           // CTAs over what the available SMs hold at once
  int ctas_per_sm = 0;        // resident together
  double sm_utilization = 0;  // CTAs over what the SMs could have run in that time; 1 where all get an equal share

  bool operator==(const Prediction&) const = default;
};

/// `resources` from the compiler, where it has run; estimated otherwise. Throws std::invalid_argument where not even
/// one CTA fits on an SM.
Prediction predict(const GemmProblem& problem, const GemmConfig& config, const DeviceSpec& device,
                   const std::optional<KernelResources>& resources = std::nullopt,
                   const ModelConstants& constants = {});

/// Microseconds that all available SMs take to move `bytes` to or from L2, which holds a part of them; DRAM the rest.
double through_l2_us(double bytes, const DeviceSpec& device, const ModelConstants& constants);

}  // namespace gemm_tuner
