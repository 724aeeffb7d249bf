// The numbers of the performance model that no device reports. Each describes hardware or Triton's code, not a table of
// timings: the source is named, and where a value was chosen among plausible ones, benchmarks/fit_model.py chose it on
// half of the problems of a public A100 collection (docs/model.md tells how, and what the other half said).
#pragma once

namespace gemm_tuner {

struct ModelConstants {
  double launch_us = 2.5;               // an empty kernel between two events
  double memory_latency_clk = 700;      // global load that misses L2: 500-800 clocks (Jia et al. 2018; Luo et al. 2024)
  double l2_bytes_per_clk_per_sm = 48;  // L2 to one SM: at most 64; about 40-50 sustained with every SM reading (A100)
  double l2_hit_fraction = 0.6;         // of L2 that holds what is re-read, before lines are lost
  double dram_efficiency = 0.85;        // of peak DRAM bandwidth that streams reach
  double smem_bytes_per_clk = 128;      // 32 banks of 4 bytes (CUDA C++ Programming Guide)
  double tensor_efficiency = 0.9;       // of peak, mma.sync with everything resident
  double warpgroup_gain = 1.5;          // wgmma over mma.sync on sm_90: mma.sync reaches about 62 % of its peak
  double mma_per_sm_in_flight = 16;     // independent instruction tiles that fill four tensor cores' pipelines
  double iteration_clk = 60;            // barrier, waits and address arithmetic of one k iteration
  double smem_latency_clk = 30;         // shared-memory load to use (Jia et al. 2018)
  double prologue_clk = 900;            // index arithmetic, first loads
  double epilogue_clk = 600;            // layout conversion and store, before its bytes
  double store_bytes_per_clk_per_sm = 32;
  double overlap = 0.5;                 // of a CTA's prologue and epilogue that a resident neighbour hides
  double wave_smoothing = 0.3;          // 0: CTAs march in waves; 1: work flows as a fluid
  double short_row_bytes = 64;          // rows of a tile shorter than this waste part of each L2 request
  double narrow_load_cost = 1.0;        // clocks per extra 32-lane load instruction when alignment forbids 16-byte ones
  double sync_load_penalty = 1.5;       // of latency, where elements are too narrow for cp.async (4 bytes)
  double contention = 0.5;              // how much of a smaller bound adds to the largest (0: perfect overlap)

  bool operator==(const ModelConstants&) const = default;
};

}  // namespace gemm_tuner
