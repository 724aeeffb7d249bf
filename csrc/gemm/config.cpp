#include "gemm/config.hpp"

#include <stdexcept>
#include <string_view>

#include "gemm/hash.hpp"

namespace gemm_tuner {
namespace {

void require_power_of_two(std::string_view name, int value, int low, int high) {
  if (value >= low && value <= high && (value & (value - 1)) == 0) return;
  throw std::invalid_argument(std::string(name) + " must be a power of two between " + std::to_string(low) + " and " +
                              std::to_string(high) + ", got " + std::to_string(value));
}

void require_between(std::string_view name, int value, int low, int high) {
  if (value >= low && value <= high) return;
  throw std::invalid_argument(std::string(name) + " must be between " + std::to_string(low) + " and " +
                              std::to_string(high) + ", got " + std::to_string(value));
}

}  // namespace

bool has_fixed_grid(Family family) { return family != Family::tiled && family != Family::split_k; }

void validate(const GemmConfig& config) {
  require_power_of_two("block_m", config.block_m, 16, 512);
  require_power_of_two("block_n", config.block_n, 8, 512);
  require_power_of_two("block_k", config.block_k, 16, 512);
  require_power_of_two("num_warps", config.num_warps, 1, 32);
  require_between("num_stages", config.num_stages, 1, 16);
  require_between("group_m", config.group_m, 1, 64);
  require_between("split_k", config.split_k, 1, 256);
  if ((config.family == Family::split_k) != (config.split_k > 1)) {
    throw std::invalid_argument("split_k above 1 belongs to family split_k and to no other, got family " +
                                std::string(to_string(config.family)) +
                                " with split_k=" + std::to_string(config.split_k));
  }
  require_between("ctas", config.ctas, 0, max_ctas_of_a_fixed_grid);
  if (has_fixed_grid(config.family) != (config.ctas > 0)) {
    throw std::invalid_argument("ctas above 0 belongs to the families that deal tiles to a fixed number of CTAs, got " +
                                std::string(to_string(config.family)) + " with ctas=" + std::to_string(config.ctas));
  }
}

std::string to_string(const GemmConfig& c) {
  std::string text = std::string(to_string(c.family)) + " " + std::to_string(c.block_m) + "x" +
                     std::to_string(c.block_n) + "x" + std::to_string(c.block_k) + " w" + std::to_string(c.num_warps) +
                     " s" + std::to_string(c.num_stages) + " g" + std::to_string(c.group_m);
  if (c.split_k > 1) text += " k" + std::to_string(c.split_k);
  if (c.ctas > 0) text += " c" + std::to_string(c.ctas);
  return text;
}

std::size_t hash_value(const GemmConfig& c) {
  return hash_of(c.family, c.block_m, c.block_n, c.block_k, c.num_warps, c.num_stages, c.group_m, c.split_k, c.ctas);
}

}  // namespace gemm_tuner
