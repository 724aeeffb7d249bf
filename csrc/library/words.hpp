// What a problem is in the library's words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gemm/problem.hpp"
#include "library/cublaslt.hpp"

namespace gemm_tuner {

/// Why the library's matmul cannot compute the problem in one call, in a sentence; nothing where it may.
std::optional<std::string> why_library_lacks(const GemmProblem& problem);

namespace cublaslt {

DataType type_of(DType dtype);
ComputeType compute_of(const GemmProblem& problem);
bool is_integer(const GemmProblem& problem);
bool adds_bias(const GemmProblem& problem);
/// CUBLASLT_EPILOGUE_* of a problem that the library does not lack.
std::uint32_t epilogue_of(const GemmProblem& problem);

}  // namespace cublaslt
}  // namespace gemm_tuner
