#include "model/library.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace gemm_tuner {
namespace {

struct Tile {
  int block_m, block_n, block_k, num_warps, num_stages;
};

// threadblock shapes that cuBLAS's and CUTLASS's kernel names show for 16-bit operands
constexpr std::array<Tile, 10> menu{{{256, 128, 32, 8, 3},
                                     {128, 256, 32, 8, 3},
                                     {128, 128, 32, 4, 4},
                                     {128, 64, 32, 4, 4},
                                     {64, 128, 32, 4, 4},
                                     {64, 64, 64, 4, 4},
                                     {64, 32, 64, 4, 4},
                                     {32, 64, 64, 4, 4},
                                     {32, 32, 64, 2, 4},
                                     {16, 32, 128, 2, 4}}};
constexpr int vector_bytes =
    16;  // below this alignment the library's fast kernels do not apply (cuBLAS, "Tensor Core Usage")
constexpr std::array splits{1, 2, 4, 8, 16};

/// The library's kernels differ from Triton's in how well they overlap, not in what the hardware can do.
ModelConstants library_constants(ModelConstants constants) {
  constants.contention *= constants.library_contention;
  constants.iteration_clk *= constants.library_overhead;
  constants.load_issue_clk *= constants.library_overhead;
  constants.exposed *= constants.library_overhead;
  constants.cta_clk *= constants.library_edge;
  return constants;
}

}  // namespace

double predict_library(const GemmProblem& problem, const DeviceSpec& device, const ModelConstants& constants) {
  if (problem.op == Op::mm_plus_mm) {
    // ATen has no such kernel: a product into C, then one that is added to the C it reads (torch.mm, addmm_)
    GemmProblem each = problem;
    each.op = Op::mm;
    const double c_bytes =
        static_cast<double>(problem.m) * static_cast<double>(problem.n) * bytes_of(problem.out_dtype);
    return 2 * predict_library(each, device, constants) + through_l2_us(c_bytes, device, constants);
  }
  double best = std::numeric_limits<double>::infinity();
  const bool aligned = problem.alignment * bytes_of(problem.a_dtype) >= vector_bytes;
  const ModelConstants own = library_constants(constants);
  const double narrow = aligned ? 1.0 : constants.library_narrow;
  for (const Tile& tile : menu) {
    for (const int split_k : splits) {
      GemmConfig config;
      config.family = split_k > 1 ? Family::split_k : Family::tiled;
      config.block_m = tile.block_m;
      config.block_n = tile.block_n;
      config.block_k = tile.block_k;
      config.num_warps = tile.num_warps;
      config.num_stages = tile.num_stages;
      config.split_k = split_k;
      if (split_k > 1 && problem.k < 4LL * tile.block_k * split_k) break;
      KernelResources resources = estimate_resources(problem, config, device.compute_capability);
      resources.spill_bytes = 0;
      // the library has tensor-core kernels of its own, also where Triton emits none
      resources.tensor_core_instructions = 1;
      if (resident_ctas(resources, config.num_warps, device) < 1) continue;
      const Prediction parts = predict(problem, config, device, resources, own);
      best = std::min(best, parts.latency_us + (narrow - 1) * parts.main_loop_us);
    }
  }
  return best;
}

}  // namespace gemm_tuner
