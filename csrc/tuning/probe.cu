// Marks the SM that each CTA runs on, so that the SMs a launch really reaches can be counted.

extern "C" __global__ void gemm_tuner_mark_sm(unsigned* marks, unsigned slots, unsigned hold_ns) {
  unsigned sm;
  unsigned long long start, now;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  // A CTA that left at once would make room on its SM for the next, and far SMs might get none.
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - start < hold_ns);
  if (threadIdx.x == 0 && sm < slots) atomicAdd(marks + sm, 1u);
}
