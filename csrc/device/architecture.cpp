#include "device/architecture.hpp"

#include <array>
#include <stdexcept>
#include <string>

namespace gemm_tuner {
namespace {

constexpr int kib = 1024;

// Shared memory, threads and CTAs: "Technical Specifications per Compute Capability", CUDA C++ Programming Guide 13.
// FMA rates: dense peak of the architecture's whitepaper (V100, Turing, A100, GA102, Jetson Orin, Ada, H100, Blackwell)
// divided by 2 * SMs * boost clock; halved: the GeForce columns "with FP32 accumulate" of the same papers.
// Order: fp16, bf16, tf32, fp8, int8, fp32.
constexpr std::array<Architecture, 12> known{{
    {70, 96 * kib, 96 * kib, 2048, 32, {512, 0, 0, 0, 0, 64}, {512, 0, 0, 0, 0, 64}},
    {72, 96 * kib, 96 * kib, 2048, 32, {512, 0, 0, 0, 1024, 64}, {512, 0, 0, 0, 1024, 64}},
    {75, 64 * kib, 64 * kib, 1024, 16, {512, 0, 0, 0, 1024, 64}, {256, 0, 0, 0, 1024, 64}},
    {80, 164 * kib, 163 * kib, 2048, 32, {1024, 1024, 512, 0, 2048, 64}, {1024, 1024, 512, 0, 2048, 64}},
    {86, 100 * kib, 99 * kib, 1536, 16, {512, 512, 256, 0, 1024, 128}, {256, 256, 128, 0, 1024, 128}},
    {87, 164 * kib, 163 * kib, 1536, 16, {1024, 1024, 512, 0, 2048, 128}, {1024, 1024, 512, 0, 2048, 128}},
    {89, 100 * kib, 99 * kib, 1536, 24, {512, 512, 256, 1024, 1024, 128}, {256, 256, 128, 512, 1024, 128}},
    {90, 228 * kib, 227 * kib, 2048, 32, {2048, 2048, 1024, 4096, 4096, 128}, {2048, 2048, 1024, 4096, 4096, 128}},
    {100, 228 * kib, 227 * kib, 2048, 32, {4096, 4096, 2048, 8192, 8192, 128}, {4096, 4096, 2048, 8192, 8192, 128}},
    {110, 228 * kib, 227 * kib, 1536, 24, {4096, 4096, 2048, 8192, 8192, 128}, {4096, 4096, 2048, 8192, 8192, 128}},
    {120, 100 * kib, 99 * kib, 1536, 24, {512, 512, 256, 1024, 1024, 128}, {256, 256, 128, 512, 1024, 128}},
    {121, 100 * kib, 99 * kib, 1536, 24, {512, 512, 256, 1024, 1024, 128}, {256, 256, 128, 512, 1024, 128}},
}};

}  // namespace

const Architecture& architecture(int compute_capability) {
  std::string names;
  for (const Architecture& candidate : known) {
    if (candidate.compute_capability == compute_capability) return candidate;
    names += (names.empty() ? "" : ", ") + std::to_string(candidate.compute_capability);
  }
  throw std::invalid_argument("compute capability " + std::to_string(compute_capability) +
                              " is not known; known: " + names);
}

}  // namespace gemm_tuner
