#include "model/legality.hpp"

#include <algorithm>

#include "model/limits.hpp"
#include "model/product.hpp"
#include "model/shared_memory.hpp"

namespace gemm_tuner {
namespace {

constexpr int max_threads_per_cta = 1024;  // CUDA C++ Programming Guide, every compute capability
constexpr int max_grid_y = 65535;          // CTAs along a grid's second axis, likewise
constexpr int first_bfloat16 = 80;
constexpr int first_float8 = 89;
constexpr int first_copy_engine = 90;     // that reads tiles by descriptor (TMA, PTX ISA "cp.async.bulk.tensor")
constexpr int copy_engine_bytes = 16;     // it wants matrices and their rows to begin at multiples of
constexpr int max_copied_elements = 256;  // along each side of a tile that it fetches
constexpr int first_int8 = 80;            // Turing has the units, but Triton's compiler fails on the product there

int first_compute_capability(DType dtype) {
  switch (dtype) {
    case DType::bfloat16:
      return first_bfloat16;
    case DType::float8_e4m3fn:
    case DType::float8_e5m2:
      return first_float8;
    case DType::int8:
      return first_int8;
    default:
      return 0;
  }
}

/// Triton's tl.dot wants at least 16 elements along k, and 32 where they are a byte wide.
int min_block_k(DType dtype) { return bytes_of(dtype) == 1 ? 32 : 16; }

int registers_of_a_thread(const GemmConfig& config, const DeviceSpec& device) {
  return std::min(max_registers_per_thread, device.registers_per_sm / (threads_per_warp * config.num_warps));
}

/// Of the kernels that give each matrix its own place along the grid's second axis.
bool outgrows_grid(const GemmProblem& problem, const GemmConfig& config) {
  return !has_fixed_grid(config.family) && problem.batch > max_grid_y;
}

/// Why the copy engine cannot fetch the tiles; empty where it can.
std::string copy_engine_trouble(const GemmProblem& problem, const GemmConfig& config, const DeviceSpec& device) {
  const std::string of = "tiles are fetched by the copy engine ";
  if (device.compute_capability < first_copy_engine) {
    return of + "from compute capability " + std::to_string(first_copy_engine) + " on, and " + device.name + " has " +
           std::to_string(device.compute_capability);
  }
  if (problem.alignment * bytes_of(problem.a_dtype) < copy_engine_bytes) {
    return of + "where rows begin at multiples of " + std::to_string(copy_engine_bytes) +
           " bytes, got alignment=" + std::to_string(problem.alignment) + " of " +
           std::string(to_string(problem.a_dtype));
  }
  if (std::max({config.block_m, config.block_n, config.block_k}) > max_copied_elements) {
    return of + "up to " + std::to_string(max_copied_elements) + " elements a side, got " + to_string(config);
  }
  return "";
}

}  // namespace

Refusal refusal(const GemmProblem& problem, const GemmConfig& config, const DeviceSpec& device) {
  if (device.compute_capability < first_compute_capability(problem.a_dtype)) return Refusal::dtype;
  if (config.block_k < min_block_k(problem.a_dtype)) return Refusal::block_k;
  if (problem.op == Op::mm_plus_mm && config.block_k >= problem.k) return Refusal::single_block;
  if (problem.op == Op::mm_plus_mm && config.family != Family::tiled) return Refusal::no_kernel;
  if (outgrows_grid(problem, config)) return Refusal::batch;
  if (config.family == Family::persistent_tma && !copy_engine_trouble(problem, config, device).empty()) {
    return Refusal::copy_engine;
  }
  if (config.num_warps * threads_per_warp > max_threads_per_cta) return Refusal::threads;
  if (required_registers(problem, config, device.compute_capability) > registers_of_a_thread(config, device)) {
    return Refusal::registers;
  }
  if (config.split_k > 1 && problem.k < static_cast<std::int64_t>(config.block_k) * (config.split_k - 1)) {
    return Refusal::split;
  }
  if (predicted_smem_bytes(problem, config, device.compute_capability) > device.smem_per_block_optin_bytes) {
    return Refusal::memory;
  }
  return Refusal::none;
}

std::optional<std::string> why_illegal(const GemmProblem& problem, const GemmConfig& config, const DeviceSpec& device) {
  switch (refusal(problem, config, device)) {
    case Refusal::none:
      return std::nullopt;
    case Refusal::dtype:
      return std::string(to_string(problem.a_dtype)) + " needs compute capability " +
             std::to_string(first_compute_capability(problem.a_dtype)) + " and " + device.name + " has " +
             std::to_string(device.compute_capability);
    case Refusal::block_k:
      return "block_k must be at least " + std::to_string(min_block_k(problem.a_dtype)) + " for " +
             std::string(to_string(problem.a_dtype)) + ", got " + std::to_string(config.block_k);
    case Refusal::single_block:
      return "block_k must be below k in mm_plus_mm, got block_k=" + std::to_string(config.block_k) +
             " for k=" + std::to_string(problem.k) + "; Inductor leaves such configs out";
    case Refusal::no_kernel:
      return "mm_plus_mm has a kernel of family tiled alone, got " + std::string(to_string(config.family));
    case Refusal::batch:
      return "a grid has room for " + std::to_string(max_grid_y) +
             " matrices, got batch=" + std::to_string(problem.batch);
    case Refusal::copy_engine:
      return copy_engine_trouble(problem, config, device);
    case Refusal::threads:
      return "a CTA has at most " + std::to_string(max_threads_per_cta) + " threads, got " +
             std::to_string(config.num_warps) + " warps";
    case Refusal::registers:
      return "a thread's part of the tile needs " +
             std::to_string(required_registers(problem, config, device.compute_capability)) + " registers, and with " +
             std::to_string(config.num_warps) + " warps it has " +
             std::to_string(registers_of_a_thread(config, device));
    case Refusal::split:
      return "k=" + std::to_string(problem.k) + " leaves parts of split_k=" + std::to_string(config.split_k) +
             " without work at block_k=" + std::to_string(config.block_k);
    case Refusal::memory:
      return "it needs " + std::to_string(predicted_smem_bytes(problem, config, device.compute_capability)) +
             " bytes of shared memory and a CTA may have " + std::to_string(device.smem_per_block_optin_bytes) +
             " on " + device.name;
  }
  return std::nullopt;
}

}  // namespace gemm_tuner
