// Orders candidates by predicted latency.
#pragma once

#include <optional>
#include <vector>

#include "model/predict.hpp"

namespace gemm_tuner {

/// The `top_k` best predictions, best first; the same input gives the same order. `configs` restricts the candidates to
/// those given (the illegal among them are left out); otherwise they are space(problem, device).
std::vector<Prediction> rank(const GemmProblem& problem, const DeviceSpec& device, int top_k,
                             const std::optional<std::vector<GemmConfig>>& configs = std::nullopt);

}  // namespace gemm_tuner
