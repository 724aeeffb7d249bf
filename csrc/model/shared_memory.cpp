#include "model/shared_memory.hpp"

#include <algorithm>
#include <cstdint>

#include "gemm/types.hpp"
#include "model/layout_conversion.hpp"
#include "model/limits.hpp"
#include "model/product.hpp"

namespace gemm_tuner {
namespace {

constexpr int tcgen05_barrier_bytes = 16;
constexpr int copy_barrier_bytes = 16;  // at most, of each buffer that the copy engine fills
constexpr int part_bytes = 4;           // of float32 or int32, which parts of a product are kept in

bool is_float8(DType dtype) { return dtype == DType::float8_e4m3fn || dtype == DType::float8_e5m2; }

/// mma.sync computes float8 from 8.9 on, but Triton 3.7 promotes it to float16 where it means to use wgmma instead.
bool promotes_float8(const GemmProblem& problem, Product product, int compute_capability) {
  return is_float8(problem.a_dtype) &&
         (compute_capability < 89 || (compute_capability / 10 == 9 && product == Product::mma));
}

struct Operand {
  int bytes;       // of one tile
  bool pipelined;  // several tiles in flight
};

Operand operand(const GemmProblem& problem, const GemmConfig& config, Product product, DType dtype, int extent,
                bool along_k) {
  const int elements = extent * config.block_k;
  const int per_thread = std::max(1, elements / (32 * config.num_warps));
  const bool async = std::min(problem.alignment, per_thread) * bytes_of(dtype) >= narrowest_async_copy_bytes;
  // wgmma transposes 16-bit operands only: others go through registers first
  const bool in_place = product != Product::wgmma || along_k || bytes_of(dtype) != 1;
  return {elements * bytes_of(dtype), config.num_stages > 1 && async && in_place};
}

/// Before 8.0 there is no asynchronous copy, and narrow operands are widened to 4 bytes one after the other.
int fma_only_bytes(const GemmProblem& problem, const GemmConfig& config) {
  const int a_bytes = 4 * config.block_m * config.block_k;
  const int b_bytes = 4 * config.block_n * config.block_k;
  return bytes_of(problem.a_dtype) == 4 ? a_bytes + b_bytes : std::max(a_bytes, b_bytes);
}

int pipeline_bytes(const GemmProblem& problem, const GemmConfig& config, Product product, int compute_capability) {
  if (compute_capability < 80) return fma_only_bytes(problem, config);
  const Operand a =
      operand(problem, config, product, problem.a_dtype, config.block_m, !a_is_transposed(problem.layout));
  const Operand b = operand(problem, config, product, problem.b_dtype, config.block_n, b_is_transposed(problem.layout));
  if (product == Product::tcgen05) return config.num_stages * (a.bytes + b.bytes) + tcgen05_barrier_bytes;
  // wgmma reads a tile where it lies, so its buffer is free a step later than with mma.sync
  const int buffers = product == Product::wgmma ? config.num_stages : config.num_stages - 1;
  const int in_flight = (a.pipelined ? buffers * a.bytes : 0) + (b.pipelined ? buffers * b.bytes : 0);
  const int a_once = a.pipelined ? 0 : a.bytes;
  const int b_once = b.pipelined ? 0 : b.bytes;
  // promoted operands pass through shared memory one after the other
  const bool in_turn = promotes_float8(problem, product, compute_capability);
  return in_flight + (in_turn ? std::max(a_once, b_once) : a_once + b_once);
}

/// Of the accumulators, on their way to wide stores of rows of `row` elements.
int store_conversion_bytes(const GemmConfig& config, Product product, int compute_capability, int result_bytes,
                           std::int64_t row) {
  const int m = config.block_m;
  const int n = config.block_n;
  const int warps = config.num_warps;
  const int per_thread = std::max(1, m * n / (32 * warps));
  const auto aligned = static_cast<int>(std::min<std::int64_t>(widest_access_bytes, row & -row));
  const int width = std::min({widest_access_bytes / result_bytes, aligned, per_thread});
  const TileLayout stored = blocked_layout(m, n, warps, 1, width);
  switch (product) {
    case Product::fma: {
      const int edge = per_thread >= 16 ? 4 : per_thread >= 4 ? 2 : 1;
      const TileLayout computed = blocked_layout(m, n, warps, std::min(edge, m), std::min(edge, n));
      return conversion_bytes(computed, stored, result_bytes, compute_capability);
    }
    case Product::mma:
      return conversion_bytes(mma_layout(m, n, warps), stored, result_bytes, compute_capability);
    case Product::wgmma:
      return conversion_bytes(wgmma_layout(m, n, warps), stored, result_bytes, compute_capability);
    case Product::tcgen05:
      break;
  }
  return m * n * result_bytes;  // from tensor memory: at most the whole tile
}

}  // namespace

int predicted_smem_bytes(const GemmProblem& problem, const GemmConfig& config, int compute_capability) {
  const Product product = product_of(problem, config, compute_capability);
  const int pipeline = pipeline_bytes(problem, config, product, compute_capability);
  const auto converted = [&](int result_bytes, std::int64_t row) {
    if (config.block_m * config.block_n * result_bytes <= pipeline) return 0;  // a conversion needs no more
    return store_conversion_bytes(config, product, compute_capability, result_bytes, row);
  };
  const int result = converted(config.split_k > 1 ? part_bytes : bytes_of(problem.out_dtype), problem.n);
  const int part = config.family == Family::stream_k ? converted(part_bytes, config.block_n) : 0;
  const int barriers = config.family == Family::persistent_tma ? copy_barrier_bytes * config.num_stages : 0;
  return std::max({pipeline, result, part}) + barriers;
}

}  // namespace gemm_tuner
