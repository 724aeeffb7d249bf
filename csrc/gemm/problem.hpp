// What is to be computed: C[batch, m, n] = epilogue(A[batch, m, k] @ B[batch, k, n]); of mm_plus_mm the sum of two such
// products, which share sizes, dtypes, layout and alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "gemm/types.hpp"

namespace gemm_tuner {

struct GemmProblem {
  Op op = Op::mm;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t batch = 1;
  DType a_dtype = DType::float16;
  DType b_dtype = DType::float16;
  DType out_dtype = DType::float16;
  Precision precision = Precision::ieee;
  Scaling scaling = Scaling::tensor;
  Layout layout = Layout::nn;
  int alignment = 16;  // elements: the largest power of two up to 16 that divides the row pitch of both operands
  Epilogue epilogue = Epilogue::none;

  bool operator==(const GemmProblem&) const = default;
};

inline constexpr std::int64_t max_dimension = (std::int64_t{1} << 31) - 1;  // Triton's and cuBLAS's int32 sizes
inline constexpr int max_alignment = 16;                                    // beyond it no load gets wider

/// Throws std::invalid_argument with a sentence where the problem makes no sense.
void validate(const GemmProblem& problem);

/// Products that the op adds up before the epilogue: two for mm_plus_mm, one for every other.
int product_count(Op op);

/// Is a tensor like C added to the result, behind the activation?
bool adds_residual(Epilogue epilogue);

bool a_is_transposed(Layout layout);
bool b_is_transposed(Layout layout);

/// The alignment, in elements, that contiguous operands of these sizes have.
int contiguous_alignment(std::int64_t m, std::int64_t n, std::int64_t k, Layout layout);

std::string to_string(const GemmProblem& problem);
std::size_t hash_value(const GemmProblem& problem);

}  // namespace gemm_tuner
