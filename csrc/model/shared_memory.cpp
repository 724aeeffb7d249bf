#include "model/shared_memory.hpp"

#include <algorithm>

namespace gemm_tuner {
namespace {

/// Tiles of A and B in flight: wgmma reads the tile in place, so one more buffer is held there than elsewhere, where
/// the tile has moved on to registers before its buffer is filled again.
int pipeline_buffers(const GemmConfig& config, int compute_capability) {
  return compute_capability / 10 == 9 ? config.num_stages : std::max(config.num_stages - 1, 1);
}

}  // namespace

int predicted_smem_bytes(const GemmProblem& problem, const GemmConfig& config, int compute_capability) {
  const int tile_bytes = config.block_k * (config.block_m * bytes_of(problem.a_dtype) +
                                           config.block_n * bytes_of(problem.b_dtype));
  const int result_bytes = config.split_k > 1 ? 4 : bytes_of(problem.out_dtype);
  const int conversion_bytes = config.block_m * config.block_n * result_bytes;
  return std::max(pipeline_buffers(config, compute_capability) * tile_bytes, conversion_bytes);
}

}  // namespace gemm_tuner
