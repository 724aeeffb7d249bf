// Which instructions Triton computes a tile's product with.
#pragma once

#include "gemm/config.hpp"
#include "gemm/problem.hpp"
#include "model/tile_layout.hpp"

namespace gemm_tuner {

enum class Product { fma, mma, wgmma, tcgen05 };

/// As Triton's AccelerateMatmul decides for that architecture (86 for 8.6).
Product product_of(const GemmProblem& problem, const GemmConfig& config, int compute_capability);

/// How the product's instructions spread over the warps of a CTA.
WarpGrid warp_grid(const GemmConfig& config, Product product);

/// 32-bit registers per thread without which ptxas refuses the product's instruction; 0 where none is refused.
int required_registers(const GemmProblem& problem, const GemmConfig& config, int compute_capability);

}  // namespace gemm_tuner
