// Numbers of NVIDIA's programming model that several parts of the model need; the same on every architecture here.
#pragma once

namespace gemm_tuner {

inline constexpr int threads_per_warp = 32;
inline constexpr int max_registers_per_thread = 255;     // CUDA C++ Programming Guide
inline constexpr int widest_access_bytes = 16;           // of one thread's load, store or cp.async (PTX ISA)
inline constexpr int narrowest_async_copy_bytes = 4;     // cp.async moves 4, 8 or 16 bytes a thread (PTX ISA)
inline constexpr int first_tensor_core_capability = 80;  // Triton 3.x emits FFMA only before compute capability 8.0

}  // namespace gemm_tuner
