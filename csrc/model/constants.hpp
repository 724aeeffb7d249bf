// The numbers of the performance model that no device reports. Each describes hardware or Triton's code, not a table of
// timings: the source is named, and where a value was chosen among plausible ones, benchmarks/fit_model.py searched for
// it on half of the problems of a public A100 collection (docs/model.md tells how, and what the other half said).
#pragma once

namespace gemm_tuner {

struct ModelConstants {
  double launch_us = 4.5;                  // from one kernel to the next on a stream, with the events around it
  double memory_latency_clk = 1000;        // global load under load; 500-800 idle (Jia et al. 2018; Luo et al. 2024)
  double l2_bytes_per_clk_per_sm = 37;     // L2 to one SM, all reading; A100: 5120 bytes/clk over 108 SMs is 47 at best
  double l2_hit_fraction = 0.6;            // of L2 that holds what will be read again
  double dram_efficiency = 0.9;            // of peak DRAM bandwidth that streams reach
  double smem_bytes_per_clk = 128;         // 32 banks of 4 bytes (CUDA C++ Programming Guide)
  double tensor_efficiency = 0.99;         // of the tensor cores' peak, every pipeline full
  double warpgroup_gain = 1.6;             // mma.sync reaches about 62 % of what wgmma does on sm_90 (Luo et al. 2024)
  double mma_per_sm_in_flight = 15;        // independent instruction tiles that fill the pipelines of four tensor cores
  double iteration_clk = 75;               // barrier, first shared-memory load and address arithmetic of a k iteration
  double load_issue_clk = 8;               // address, mask and cp.async of one load of a thread
  double cta_clk = 1100;                   // index arithmetic before the loop and layout conversion after it
  double store_bytes_per_clk_per_sm = 32;  // the result's way out
  double overlap = 0.8;                    // of cta_clk and store that resident neighbours hide
  double short_row_bytes = 50;             // tile rows near or below this waste part of each 32-byte-sector request
  double narrow_load_clk = 0.6;            // per extra load instruction of a warp where alignment forbids 16-byte ones
  double exposed = 0.05;                   // of an iteration's load latency that nothing hides: latencies vary
  double contention = 0.18;                // share of the smaller bounds that is not hidden behind the largest
  double library_contention = 0.5;  // cuBLAS's `contention` beside Triton's: its machine code is scheduled by hand
  double library_overhead = 0.55;   // its iteration_clk, load_issue_clk and exposed beside Triton's
  double library_edge = 2.0;        // its cta_clk beside Triton's: general epilogues, larger tiles
  double library_narrow = 1.5;      // where operands are not aligned to 16 bytes

  bool operator==(const ModelConstants&) const = default;
};

}  // namespace gemm_tuner
