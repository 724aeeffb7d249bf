// The same tile by the kernel families that the space leaves out, because they are worth a try beside a leader alone.
#pragma once

#include <vector>

#include "device/spec.hpp"
#include "gemm/config.hpp"
#include "gemm/problem.hpp"

namespace gemm_tuner {

/// The tiled config's variants with a fixed grid of as many CTAs as are resident at once (by the estimated resources),
/// where there is something to gain: stream_k where the tiles leave a good part of the last round idle, the persistent
/// families where there is more than one round. Legal ones only; none for a config of another family.
std::vector<GemmConfig> family_variants(const GemmProblem& problem, const GemmConfig& config, const DeviceSpec& device);

}  // namespace gemm_tuner
