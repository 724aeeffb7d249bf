#include "model/rank.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "model/legality.hpp"
#include "model/space.hpp"

namespace gemm_tuner {

std::vector<Prediction> rank(const GemmProblem& problem, const DeviceSpec& device, int top_k,
                             const std::optional<std::vector<GemmConfig>>& configs) {
  if (top_k < 1) throw std::invalid_argument("top_k must be at least 1, got " + std::to_string(top_k));
  std::vector<GemmConfig> candidates = configs ? *configs : space(problem, device);
  if (configs) {
    std::erase_if(candidates, [&](const GemmConfig& config) {
      validate(config);
      return refusal(problem, config, device) != Refusal::none;
    });
  }
  // latencies first and whole predictions only for the best: a prediction is much larger than what orders it
  struct Entry {
    double latency_us;
    std::size_t index;  // breaks ties by the order of the candidates
    auto operator<=>(const Entry&) const = default;
  };
  std::vector<Entry> entries;
  entries.reserve(candidates.size());
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const KernelResources resources = estimate_resources(problem, candidates[i], device.compute_capability);
    if (resident_ctas(resources, candidates[i].num_warps, device) < 1) continue;
    entries.push_back({predict(problem, candidates[i], device, resources).latency_us, i});
  }
  const std::size_t count = std::min(entries.size(), static_cast<std::size_t>(top_k));
  std::partial_sort(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(count), entries.end());
  std::vector<Prediction> best;
  best.reserve(count);
  for (std::size_t i = 0; i < count; ++i) best.push_back(predict(problem, candidates[entries[i].index], device));
  return best;
}

}  // namespace gemm_tuner
