#include "device/spec.hpp"

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace gemm_tuner {
namespace {

void require(bool holds, const DeviceSpec& spec, std::string_view what) {
  if (holds) return;
  throw std::invalid_argument("device '" + spec.name + "': " + std::string(what));
}

}  // namespace

void validate(const DeviceSpec& spec) {
  require(spec.compute_capability >= 50, spec, "compute_capability must be at least 50 (5.0)");
  require(spec.sm_count >= 1, spec, "sm_count must be at least 1");
  require(spec.available_sms >= 1 && spec.available_sms <= spec.sm_count, spec,
          "available_sms must be between 1 and sm_count");
  require(spec.clock_mhz > 0, spec, "clock_mhz must be positive");
  require(spec.sustained_fraction > 0 && spec.sustained_fraction <= 1, spec,
          "sustained_fraction must be above 0 and at most 1");
  require(spec.bandwidth_gbs > 0, spec, "bandwidth_gbs must be positive");
  require(spec.l2_bytes > 0, spec, "l2_bytes must be positive");
  require(spec.smem_per_sm_bytes > 0, spec, "smem_per_sm_bytes must be positive");
  require(spec.smem_per_block_optin_bytes > 0 && spec.smem_per_block_optin_bytes <= spec.smem_per_sm_bytes, spec,
          "smem_per_block_optin_bytes must be positive and at most smem_per_sm_bytes");
  require(spec.registers_per_sm > 0, spec, "registers_per_sm must be positive");
  require(spec.max_threads_per_sm >= 32, spec, "max_threads_per_sm must be at least 32");
  require(spec.max_ctas_per_sm >= 1, spec, "max_ctas_per_sm must be at least 1");
  require(spec.fma.fp32 > 0, spec, "fma.fp32 must be positive");
}

DeviceSpec with_available_sms(DeviceSpec spec, int sms) {
  if (sms < 1) throw std::invalid_argument("the SM budget must be at least 1, got " + std::to_string(sms));
  spec.available_sms = std::min(spec.available_sms, sms);
  return spec;
}

std::string to_string(const DeviceSpec& spec) {
  std::string text = spec.name + " (sm_" + std::to_string(spec.compute_capability) + ", ";
  if (spec.available_sms != spec.sm_count) text += std::to_string(spec.available_sms) + " of ";
  return text + std::to_string(spec.sm_count) + " SMs, " + spec.source + ")";
}

}  // namespace gemm_tuner
