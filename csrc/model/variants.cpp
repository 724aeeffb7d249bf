#include "model/variants.hpp"

#include <algorithm>

#include "model/legality.hpp"
#include "model/occupancy.hpp"

namespace gemm_tuner {
namespace {

constexpr double full_enough = 0.9;  // of the rounds' places in use: what sharing the rest could save is less than that

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

std::vector<GemmConfig> family_variants(const GemmProblem& p, const GemmConfig& config, const DeviceSpec& device) {
  if (config.family != Family::tiled) return {};
  const KernelResources resources = estimate_resources(p, config, device.compute_capability);
  const std::int64_t resident = std::int64_t{device.available_sms} * resident_ctas(resources, config.num_warps, device);
  if (resident < 1) return {};
  const std::int64_t tiles = ceil_div(p.m, config.block_m) * ceil_div(p.n, config.block_n) * p.batch;
  const std::int64_t iterations = tiles * ceil_div(p.k, config.block_k);
  GemmConfig fixed = config;
  fixed.ctas = static_cast<int>(std::min({resident, iterations, std::int64_t{max_ctas_of_a_fixed_grid}}));
  const std::int64_t places = ceil_div(tiles, fixed.ctas) * fixed.ctas;
  std::vector<Family> families;
  if (static_cast<double>(tiles) < full_enough * static_cast<double>(places)) families.push_back(Family::stream_k);
  if (tiles > fixed.ctas) families.insert(families.end(), {Family::persistent, Family::persistent_tma});
  std::vector<GemmConfig> found;
  for (const Family family : families) {
    fixed.family = family;
    if (refusal(p, fixed, device) == Refusal::none) found.push_back(fixed);
  }
  return found;
}

}  // namespace gemm_tuner
