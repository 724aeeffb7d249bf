// Tensor-core instructions back to back, from registers alone: as many multiply-adds a clock as mma.sync can reach.
// Compiled for 7.5, 8.0 and 8.9, each of which brought data types or larger shapes. (From 9.0 on data-centre parts
// reach their full rate only by other instructions.)
#include "span.cuh"

constexpr unsigned chains =
    8;  // independent sums of a warp, that hide the latency of one instruction behind the others

/// Some bits that differ from thread to thread and from operand to operand.
__device__ inline unsigned scrambled(unsigned seed) {
  seed = (seed + threadIdx.x + blockIdx.x * blockDim.x) * 2654435761u;
  return seed ^ seed >> 15;
}

/// Random signs and fractions between one half and one: zeros would draw less power than a product's operands do.
template <class Unit>
__device__ inline unsigned operand(unsigned seed) {
  return (scrambled(seed) & Unit::free_bits) | Unit::half;
}

/// Of one warp instruction: rows, columns, depth.
template <unsigned M, unsigned N, unsigned K, unsigned Free, unsigned Half, class Number>
struct Shape {
  using Sum = Number;
  static constexpr unsigned multiply_adds = M * N * K;
  static constexpr unsigned free_bits = Free, half = Half;
};

#define MMA_4_2(instruction, sum_constraint)                                                              \
  static __device__ void multiply(Sum(&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {           \
    asm volatile(instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"           \
                 : sum_constraint(d[0]), sum_constraint(d[1]), sum_constraint(d[2]), sum_constraint(d[3]) \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                     \
  }

#if __CUDA_ARCH__ >= 800
struct Fp16 : Shape<16, 8, 16, 0x83ff83ff, 0x38003800, float> {
  MMA_4_2("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "+f")
};
struct Bf16 : Shape<16, 8, 16, 0x807f807f, 0x3f003f00, float> {
  MMA_4_2("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "+f")
};
struct Tf32 : Shape<16, 8, 8, 0x807fe000, 0x3f000000, float> {
  MMA_4_2("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "+f")
};
struct Int8 : Shape<16, 8, 32, 0xffffffff, 0, int> {
  MMA_4_2("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", "+r")
};
#else
struct Fp16 : Shape<16, 8, 8, 0x83ff83ff, 0x38003800, float> {
  static __device__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  }
};
struct Int8 : Shape<8, 8, 16, 0xffffffff, 0, int> {
  static __device__ void multiply(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+r"(d[0]), "+r"(d[1])
                 : "r"(a[0]), "r"(b[0]));
  }
};
#endif

#if __CUDA_ARCH__ >= 890
struct Fp8 : Shape<16, 8, 32, 0x87878787, 0x30303030, float> {
  MMA_4_2("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", "+f")
};
#endif

template <class Unit>
__device__ inline void multiply_back_to_back(unsigned iterations, Span* spans) {
  unsigned a[2][4], b[4][2];
  for (unsigned i = 0; i < 8; ++i) {
    a[i / 4][i % 4] = operand<Unit>(1000 * i + 1);
    b[i / 2][i % 2] = operand<Unit>(1000 * i + 501);
  }
  typename Unit::Sum sums[chains][4] = {};
  __syncthreads();
  Span span;
  span.start_ns = ns_now();
  span.start_clk = clock_now();
#pragma unroll 1
  for (unsigned i = 0; i < iterations; ++i) {
#pragma unroll
    for (unsigned repeat = 0; repeat < 4; ++repeat) {
#pragma unroll
      for (unsigned chain = 0; chain < chains; ++chain) Unit::multiply(sums[chain], a[chain % 2], b[chain / 2]);
    }
  }
  __syncthreads();
  span.stop_clk = clock_now();
  span.stop_ns = ns_now();
  span.sm = sm_here();
  span.work = static_cast<unsigned long long>(iterations) * 4 * chains * Unit::multiply_adds * (blockDim.x / 32);
  typename Unit::Sum total = 0;
  for (const auto& sum : sums) {
    for (const auto part : sum) total += part;
  }
  span.kept = static_cast<unsigned long long>(total != 0);
  if (threadIdx.x == 0) spans[blockIdx.x] = span;
}

#define PROBE(name, Unit)                                                                   \
  extern "C" __global__ void gemm_tuner_multiply_##name(unsigned iterations, Span* spans) { \
    multiply_back_to_back<Unit>(iterations, spans);                                         \
  }

PROBE(fp16, Fp16)
PROBE(int8, Int8)
#if __CUDA_ARCH__ >= 800
PROBE(bf16, Bf16)
PROBE(tf32, Tf32)
#endif
#if __CUDA_ARCH__ >= 890
PROBE(fp8, Fp8)
#endif
