#include "model/occupancy.hpp"

#include <algorithm>

#include "model/limits.hpp"
#include "model/product.hpp"
#include "model/shared_memory.hpp"

namespace gemm_tuner {
namespace {

constexpr int smem_reserved_bytes = 1024;  // of every CTA, by the system, from compute capability 8.0 (CUDA guide)
constexpr int register_granularity = 8;    // registers per thread are handed out in eights (CUDA occupancy tables)
constexpr int registers_per_sm = 65536;    // of every architecture since 3.5 (CUDA C++ Programming Guide)
constexpr int mma_m = 16;                  // rows of mma.sync's tile, PTX ISA "mma"
constexpr int mma_n = 8;                   // columns of it
constexpr int base_registers = 32;         // addresses, counters and masks; seen in Triton's cubins

int round_up(int value, int step) { return (value + step - 1) / step * step; }

double tensor_rate(DType dtype, Precision precision, const FmaRates& rates) {
  switch (dtype) {
    case DType::float16:
      return rates.fp16;
    case DType::bfloat16:
      return rates.bf16;
    case DType::float8_e4m3fn:
    case DType::float8_e5m2:
      return rates.fp8;
    case DType::int8:
      return rates.int8;
    case DType::float32:
      return precision == Precision::tf32 ? rates.tf32 : 0;
    case DType::int32:
      return 0;
  }
  return 0;
}

}  // namespace

KernelResources estimate_resources(const GemmProblem& problem, const GemmConfig& config, int compute_capability) {
  const int threads = config.num_warps * threads_per_warp;
  const int element_bytes = bytes_of(problem.a_dtype);
  const Product product = product_of(problem, config, compute_capability);
  const bool from_registers = product == Product::mma || product == Product::fma;
  const WarpGrid grid = warp_grid(config, product);
  const int accumulators = std::max(1, config.block_m * config.block_n / threads);
  // operands of one k-block in registers, as mma.sync wants them; the instructions of 9.0 and 10.0 read shared memory
  const int warp_m = std::max(mma_m, config.block_m / grid.warps_m);
  const int warp_n = std::max(mma_n, config.block_n / grid.warps_n);
  const int operands =
      from_registers ? (warp_m + warp_n) * std::min(config.block_k, 32) * element_bytes / (threads_per_warp * 4) : 0;
  // each load of a thread keeps a 64-bit address, from the start also those of a second product; too narrow for
  // cp.async, its elements wait in registers as well
  const int tile_bytes = (config.block_m + config.block_n) * config.block_k * element_bytes;
  const int load_bytes = std::min(widest_access_bytes, problem.alignment * element_bytes);
  const int addresses = 2 * product_count(problem.op) * tile_bytes / load_bytes / threads;
  const int waiting = load_bytes < narrowest_async_copy_bytes ? tile_bytes / 4 / threads : 0;
  const int wanted = base_registers + accumulators + operands + addresses + waiting;
  const int allowed = std::min(max_registers_per_thread, registers_per_sm / threads);
  KernelResources resources;
  resources.registers_per_thread = std::min(wanted, allowed);
  resources.spill_bytes = 4 * std::max(0, accumulators + addresses + waiting + base_registers - allowed);
  resources.smem_bytes = predicted_smem_bytes(problem, config, compute_capability);
  resources.tensor_core_instructions = product == Product::fma ? 0 : 1;
  return resources;
}

int resident_ctas(const KernelResources& resources, int num_warps, const DeviceSpec& device) {
  const int threads = num_warps * threads_per_warp;
  const int reserved = device.compute_capability >= 80 ? smem_reserved_bytes : 0;
  const int registers = round_up(std::max(resources.registers_per_thread, 1), register_granularity) * threads;
  if (resources.smem_bytes > device.smem_per_block_optin_bytes) return 0;
  return std::min({device.max_ctas_per_sm, device.max_threads_per_sm / threads, device.registers_per_sm / registers,
                   device.smem_per_sm_bytes / (resources.smem_bytes + reserved)});
}

bool has_tensor_core_path(const GemmProblem& problem, const DeviceSpec& device) {
  return device.compute_capability >= first_tensor_core_capability &&
         tensor_rate(problem.a_dtype, problem.precision, device.fma) > 0;
}

double tensor_core_rate(const GemmProblem& problem, const DeviceSpec& device) {
  return tensor_rate(problem.a_dtype, problem.precision, device.fma);
}

}  // namespace gemm_tuner
