// What one CTA of a kernel needs, and how many of them an SM can hold.
#pragma once

#include "device/spec.hpp"
#include "gemm/config.hpp"
#include "gemm/problem.hpp"

namespace gemm_tuner {

/// What a compiled kernel needs; from the compiler, or estimated before it has run.
struct KernelResources {
  int registers_per_thread = 0;
  int spill_bytes = 0;               // local memory of one thread
  int smem_bytes = 0;                // shared memory of one CTA, dynamic and static
  int tensor_core_instructions = 0;  // in the machine code; 0: the products run on the CUDA cores

  bool operator==(const KernelResources&) const = default;
};

/// Resources as far as they can be told without compiling; tensor_core_instructions is 0 or 1 (none or some).
KernelResources estimate_resources(const GemmProblem& problem, const GemmConfig& config, int compute_capability);

/// CTAs of `resources` and `num_warps` that one SM of `device` holds at once; 0 where not even one fits.
int resident_ctas(const KernelResources& resources, int num_warps, const DeviceSpec& device);

/// Multiply-adds per clock of one SM's tensor cores for this problem; 0 where they do not take its dtype.
double tensor_core_rate(const GemmProblem& problem, const DeviceSpec& device);

/// True where the device has tensor cores for the problem's dtype and Triton emits code for them.
bool has_tensor_core_path(const GemmProblem& problem, const DeviceSpec& device);

}  // namespace gemm_tuner
