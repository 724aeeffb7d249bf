// Which configs are worth a prediction: the legal ones that the problem's size and the available SMs leave standing.
#pragma once

#include <vector>

#include "device/spec.hpp"
#include "gemm/config.hpp"
#include "gemm/problem.hpp"

namespace gemm_tuner {

/// At most so many candidates differ in nothing but group_m and num_stages.
inline constexpr int max_group_variants = 3;
inline constexpr int max_stage_variants = 6;
inline constexpr int max_variants_of_a_tile = max_group_variants * max_stage_variants;

/// Legal candidates, in a fixed order; empty only for a dtype that the device does not support, for mm_plus_mm with a
/// k that no block_k is below, and for a batch beyond what a grid has room for.
std::vector<GemmConfig> space(const GemmProblem& problem, const DeviceSpec& device);

}  // namespace gemm_tuner
