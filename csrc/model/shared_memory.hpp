// Shared memory that Triton's compiler gives one CTA of a candidate.
#pragma once

#include "gemm/config.hpp"
#include "gemm/problem.hpp"

namespace gemm_tuner {

/// Bytes of dynamic shared memory per CTA, as compiled for `compute_capability` (86 for 8.6).
int predicted_smem_bytes(const GemmProblem& problem, const GemmConfig& config, int compute_capability);

}  // namespace gemm_tuner
