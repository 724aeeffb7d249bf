// What NVIDIA's documents say of each architecture, the same for every device that has it.
#pragma once

#include "device/spec.hpp"

namespace gemm_tuner {

struct Architecture {
  int compute_capability;
  int smem_per_sm_bytes;
  int smem_per_block_optin_bytes;
  int max_threads_per_sm;
  int max_ctas_per_sm;
  FmaRates fma;         // of parts with the full rate
  FmaRates fma_halved;  // of parts (GeForce, and a few more) whose float32 accumulation runs at half the rate
};

/// Facts of the architecture; std::invalid_argument names the known ones where this is none of them.
const Architecture& architecture(int compute_capability);

}  // namespace gemm_tuner
