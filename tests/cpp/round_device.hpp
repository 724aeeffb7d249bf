// A device of round numbers, a problem and a config: what the tests of the model work out by hand.
#pragma once

#include "device/spec.hpp"
#include "gemm/config.hpp"
#include "gemm/problem.hpp"
#include "model/constants.hpp"
#include "model/occupancy.hpp"

namespace gemm_tuner {

/// 10 SMs at 1000 clocks a microsecond, 256 16-bit multiply-adds a clock and SM; sm_86's memory, and an L2 that holds
/// all.
inline DeviceSpec round_device() {
  DeviceSpec d;
  d.name = "a device of round numbers";
  d.compute_capability = 86;
  d.sm_count = d.available_sms = 10;
  d.clock_mhz = 1000;
  d.bandwidth_gbs = 100;
  d.l2_bytes = 1LL << 50;
  d.smem_per_sm_bytes = 102400;
  d.smem_per_block_optin_bytes = 101376;
  d.max_threads_per_sm = 1536;
  d.max_ctas_per_sm = 16;
  d.fma = {256, 256, 128, 0, 1024, 64};
  d.source = "catalogue";
  return d;
}

inline GemmProblem problem_of(std::int64_t m, std::int64_t n, std::int64_t k, DType dtype = DType::float16) {
  GemmProblem p;
  p.m = m;
  p.n = n;
  p.k = k;
  p.a_dtype = p.b_dtype = p.out_dtype = dtype;
  if (dtype == DType::int8) {
    p.op = Op::int_mm;
    p.out_dtype = DType::int32;
  }
  return p;
}

inline GemmConfig config_of(int block_m, int block_n, int block_k, int num_warps = 4, int num_stages = 3,
                            int split_k = 1) {
  GemmConfig c;
  c.family = split_k > 1 ? Family::split_k : Family::tiled;
  c.block_m = block_m;
  c.block_n = block_n;
  c.block_k = block_k;
  c.num_warps = num_warps;
  c.num_stages = num_stages;
  c.split_k = split_k;
  return c;
}

/// Constants with which nothing costs anything but the tensor cores' time; a test gives a price to what it is about.
inline ModelConstants free_of_cost() {
  ModelConstants k;
  k.launch_us = k.memory_latency_clk = k.iteration_clk = k.load_issue_clk = k.cta_clk = 0;
  k.short_row_bytes = k.narrow_load_clk = k.exposed = k.contention = k.overlap = 0;
  k.l2_bytes_per_clk_per_sm = k.dram_efficiency = k.smem_bytes_per_clk = k.store_bytes_per_clk_per_sm = 1e300;
  k.tensor_efficiency = k.mma_per_sm_in_flight = k.l2_hit_fraction = 1;
  return k;
}

/// What a 64x64x32 kernel of four warps and three stages might need: five of them fit on an SM.
inline KernelResources small_kernel() {
  return {.registers_per_thread = 64, .spill_bytes = 0, .smem_bytes = 16384, .tensor_core_instructions = 16};
}

}  // namespace gemm_tuner
