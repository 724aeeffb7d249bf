#include "model/product.hpp"

#include "model/limits.hpp"
#include "model/tile_layout.hpp"

namespace gemm_tuner {
namespace {

// ptxas 13: "Insufficient registers (128) ... Try to compile with register target of 154" for wgmma.m64n256
constexpr int wgmma_overhead_registers = 26;

}  // namespace

Product product_of(const GemmProblem& problem, const GemmConfig& config, int compute_capability) {
  const bool ieee32 = problem.a_dtype == DType::float32 && problem.precision == Precision::ieee;
  if (ieee32 || compute_capability < first_tensor_core_capability) return Product::fma;
  if (config.num_warps < 4 || config.block_m < 64) return Product::mma;
  if (compute_capability / 10 == 9) return Product::wgmma;
  const bool tensor_memory = compute_capability >= 100 && compute_capability < 120;
  return tensor_memory && problem.a_dtype != DType::int8 ? Product::tcgen05 : Product::mma;
}

WarpGrid warp_grid(const GemmConfig& config, Product product) {
  if (product == Product::wgmma) return wgmma_warp_grid(config.block_m, config.num_warps);
  return mma_warp_grid(config.block_m, config.block_n, config.num_warps);
}

int required_registers(const GemmProblem& problem, const GemmConfig& config, int compute_capability) {
  if (product_of(problem, config, compute_capability) != Product::wgmma) return 0;
  // one instruction's accumulators: 64 rows over 128 threads
  return wgmma_columns(config.block_m, config.block_n, config.num_warps) / 2 + wgmma_overhead_registers;
}

}  // namespace gemm_tuner
