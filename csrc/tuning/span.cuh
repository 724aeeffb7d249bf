// What a probe's CTA writes of itself. tuning/calibrate.cpp has the same seven words.
#pragma once

struct Span {
  unsigned long long start_clk, stop_clk;  // clocks of the SM
  unsigned long long start_ns, stop_ns;    // time of the GPU
  unsigned long long sm;
  unsigned long long work;  // multiply-adds, or loads
  unsigned long long kept;  // hangs on every result, so that the compiler drops none
};

__device__ inline unsigned long long clock_now() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%clock64;" : "=l"(now)::"memory");
  return now;
}

__device__ inline unsigned long long ns_now() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
  return now;
}

__device__ inline unsigned sm_here() {
  unsigned sm;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
  return sm;
}
