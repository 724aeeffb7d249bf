// The one predicate that says whether a config can run a problem on a device at all. Whether it is any good is the
// business of space (trimming) and rank.
#pragma once

#include <optional>
#include <string>

#include "device/spec.hpp"
#include "gemm/config.hpp"
#include "gemm/problem.hpp"

namespace gemm_tuner {

enum class Refusal {
  none,
  dtype,
  block_k,
  threads,
  registers,
  memory,
  split,
  single_block,
  no_kernel,
  batch,
  copy_engine
};

Refusal refusal(const GemmProblem& problem, const GemmConfig& config, const DeviceSpec& device);

/// A sentence with the numbers behind the refusal; nothing where the config is legal.
std::optional<std::string> why_illegal(const GemmProblem& problem, const GemmConfig& config, const DeviceSpec& device);

}  // namespace gemm_tuner
