// Shared memory that Triton's compiler gives one CTA of a candidate.
#pragma once

#include "gemm/config.hpp"
#include "gemm/problem.hpp"

namespace gemm_tuner {

/// Bytes of dynamic shared memory per CTA, as compiled for `compute_capability` (86 for 8.6) by Triton 3.7: the larger
/// of the tiles in flight and the scratch that brings the accumulators into store order. Exact for nearly every config
/// from 8.0 to 9.0 and 12.x, an upper bound for the rest; benchmarks/shared_memory.py compares it with the compiler.
/// The alignment is taken to be that of both operands. A kernel that loads each as wide as its own pitch allows, as
/// Inductor's does, needs no more than what this gives for the larger of the two alignments.
int predicted_smem_bytes(const GemmProblem& problem, const GemmConfig& config, int compute_capability);

}  // namespace gemm_tuner
