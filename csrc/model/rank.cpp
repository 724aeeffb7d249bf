#include "model/rank.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "model/legality.hpp"
#include "model/space.hpp"

namespace gemm_tuner {

namespace {

constexpr int max_depths_of_a_tile = 2;

struct Entry {
  double latency_us;
  std::size_t index;  // breaks ties by the order of the candidates
  auto operator<=>(const Entry&) const = default;
};

/// Latencies of the candidates that fit; whole predictions are made later and only of the best.
std::vector<Entry> latencies(const GemmProblem& problem, const DeviceSpec& device,
                             const std::vector<GemmConfig>& candidates) {
  std::vector<Entry> entries;
  entries.reserve(candidates.size());
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const KernelResources resources = estimate_resources(problem, candidates[i], device.compute_capability);
    if (resident_ctas(resources, candidates[i].num_warps, device) < 1) continue;
    entries.push_back({predict(problem, candidates[i], device, resources).latency_us, i});
  }
  return entries;
}

/// Candidates of one tile that differ in nothing but the order of tiles and the depth of the pipeline.
bool same_tile(GemmConfig a, const GemmConfig& b) {
  a.group_m = b.group_m;
  a.num_stages = b.num_stages;
  return a == b;
}

/// Does `config` bring something that those already chosen lack? Of one tile two depths are enough, in one order each:
/// they differ little, and the places are worth more to other tiles.
bool adds_variety(const GemmConfig& config, const std::vector<Prediction>& chosen) {
  int depths = 0;
  for (const Prediction& each : chosen) {
    if (!same_tile(each.config, config)) continue;
    if (each.config.num_stages == config.num_stages || ++depths == max_depths_of_a_tile) return false;
  }
  return true;
}

}  // namespace

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
  std::vector<Entry> entries = latencies(problem, device, candidates);
  const std::size_t wanted = static_cast<std::size_t>(top_k);
  const std::size_t sorted = std::min(entries.size(), configs ? wanted : wanted * max_variants_of_a_tile);
  std::partial_sort(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(sorted), entries.end());
  std::vector<Prediction> best;
  for (std::size_t i = 0; i < sorted && best.size() < wanted; ++i) {
    const GemmConfig& config = candidates[entries[i].index];
    if (configs || adds_variety(config, best)) best.push_back(predict(problem, config, device));
  }
  return best;
}

}  // namespace gemm_tuner
