// Streams through memory, a chase through L2, and a kernel that does nothing.
#include "span.cuh"

/// Through L2 and not L1, which would keep what is read again.
__device__ inline uint4 load(const uint4* from) {
  uint4 value;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from)
               : "memory");
  return value;
}

__device__ inline unsigned folded(uint4 value) { return value.x ^ value.y ^ value.z ^ value.w; }

/// Reads all of `from`, `passes` times, four loads of each thread in flight. `count` is a multiple of four grids.
extern "C" __global__ void gemm_tuner_read(const uint4* from, unsigned long long count, unsigned passes,
                                           unsigned* kept) {
  const unsigned long long threads = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
  const unsigned long long first = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  unsigned seen = 0;
  for (unsigned pass = 0; pass < passes; ++pass) {
    for (unsigned long long i = first; i < count; i += 4 * threads) {
      const uint4 a = load(from + i), b = load(from + i + threads);
      const uint4 c = load(from + i + 2 * threads), d = load(from + i + 3 * threads);
      seen ^= folded(a) ^ folded(b) ^ folded(c) ^ folded(d);
    }
  }
  if (seen == 0x9e3779b9u) *kept = seen;  // of zeros it never is, which the compiler cannot know
}

/// Copies; as many bytes are read as written.
extern "C" __global__ void gemm_tuner_copy(const uint4* from, uint4* to, unsigned long long count) {
  const unsigned long long threads = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
  const unsigned long long first = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (unsigned long long i = first; i < count; i += 4 * threads) {
    const uint4 a = load(from + i), b = load(from + i + threads);
    const uint4 c = load(from + i + 2 * threads), d = load(from + i + 3 * threads);
    to[i] = a;
    to[i + threads] = b;
    to[i + 2 * threads] = c;
    to[i + 3 * threads] = d;
  }
}

constexpr unsigned line_words = 16;  // of 8 bytes: a line of 128 bytes

/// Makes each line point to the next of one cycle through all `lines`, a power of two. A linear congruential sequence
/// visits every line before it returns (Hull and Dobell 1962: odd increment, multiplier 1 modulo 4) in no order that
/// a prefetcher could guess.
extern "C" __global__ void gemm_tuner_link(unsigned long long* chain, unsigned lines) {
  const unsigned threads = gridDim.x * blockDim.x;
  for (unsigned line = blockIdx.x * blockDim.x + threadIdx.x; line < lines; line += threads) {
    const unsigned next = (line * 1664525u + 1013904223u) & (lines - 1);
    chain[line * line_words] = reinterpret_cast<unsigned long long>(chain + next * line_words);
  }
}

/// One thread of each CTA follows the chain, each load waiting for the one before.
extern "C" __global__ void gemm_tuner_chase(unsigned long long* chain, unsigned lines, unsigned hops, Span* spans) {
  if (threadIdx.x != 0) return;
  const unsigned first = static_cast<unsigned>(static_cast<unsigned long long>(blockIdx.x) * lines / gridDim.x);
  unsigned long long at = reinterpret_cast<unsigned long long>(chain + first * line_words);
  Span span;
  span.start_ns = ns_now();
  span.start_clk = clock_now();
  for (unsigned hop = 0; hop < hops; ++hop) {
    asm volatile("ld.global.cg.u64 %0, [%1];" : "=l"(at) : "l"(at) : "memory");
  }
  span.kept = at;
  span.stop_clk = clock_now();
  span.stop_ns = ns_now();
  span.sm = sm_here();
  span.work = hops;
  spans[blockIdx.x] = span;
}

extern "C" __global__ void gemm_tuner_nothing() {}
