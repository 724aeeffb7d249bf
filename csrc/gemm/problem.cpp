#include "gemm/problem.hpp"

#include <algorithm>
#include <stdexcept>
#include <string_view>

#include "gemm/hash.hpp"

namespace gemm_tuner {
namespace {

void require_dimension(std::string_view name, std::int64_t value) {
  if (value >= 1 && value <= max_dimension) return;
  throw std::invalid_argument(std::string(name) + " must be between 1 and " + std::to_string(max_dimension) + ", got " +
                              std::to_string(value));
}

bool is_floating(DType dtype) { return dtype != DType::int8 && dtype != DType::int32; }
bool is_float8(DType dtype) { return dtype == DType::float8_e4m3fn || dtype == DType::float8_e5m2; }

std::int64_t largest_power_of_two_in(std::int64_t pitch) { return pitch & -pitch; }

}  // namespace

void validate(const GemmProblem& problem) {
  require_dimension("m", problem.m);
  require_dimension("n", problem.n);
  require_dimension("k", problem.k);
  require_dimension("batch", problem.batch);
  const bool batched = problem.op == Op::bmm || problem.op == Op::baddbmm;
  if (!batched && problem.batch != 1) {
    throw std::invalid_argument("op '" + std::string(to_string(problem.op)) +
                                "' has no batch, got batch=" + std::to_string(problem.batch) + "; use bmm or baddbmm");
  }
  if (problem.a_dtype != problem.b_dtype && !(is_float8(problem.a_dtype) && is_float8(problem.b_dtype))) {
    throw std::invalid_argument("operands must share a dtype (or both be float8), got " +
                                std::string(to_string(problem.a_dtype)) + " and " +
                                std::string(to_string(problem.b_dtype)));
  }
  const bool scaled = problem.op == Op::scaled_mm && problem.a_dtype == DType::int8;
  if (scaled && !is_floating(problem.out_dtype)) {
    throw std::invalid_argument("scaled int8 operands give a floating result, got int8 -> " +
                                std::string(to_string(problem.out_dtype)));
  }
  if (!scaled && (problem.a_dtype == DType::int8) != (problem.out_dtype == DType::int32)) {
    throw std::invalid_argument(
        "int8 operands give an int32 result unless they are scaled, and nothing else does, got " +
        std::string(to_string(problem.a_dtype)) + " -> " + std::string(to_string(problem.out_dtype)));
  }
  if (problem.a_dtype == DType::int32) {
    throw std::invalid_argument("int32 operands are not supported; int8 ones are");
  }
  if (problem.precision == Precision::tf32 && problem.a_dtype != DType::float32) {
    throw std::invalid_argument("precision tf32 is for float32 operands, got " +
                                std::string(to_string(problem.a_dtype)));
  }
  if (problem.scaling == Scaling::row && problem.op != Op::scaled_mm) {
    throw std::invalid_argument("scaling row is for op scaled_mm, got " + std::string(to_string(problem.op)));
  }
  const int a = problem.alignment;
  if (a < 1 || a > max_alignment || (a & (a - 1)) != 0) {
    throw std::invalid_argument("alignment must be 1, 2, 4, 8 or 16 elements, got " + std::to_string(a));
  }
}

bool adds_residual(Epilogue epilogue) { return to_string(epilogue).ends_with("residual"); }

int product_count(Op op) { return op == Op::mm_plus_mm ? 2 : 1; }

bool a_is_transposed(Layout layout) { return layout == Layout::tn || layout == Layout::tt; }
bool b_is_transposed(Layout layout) { return layout == Layout::nt || layout == Layout::tt; }

int contiguous_alignment(std::int64_t m, std::int64_t n, std::int64_t k, Layout layout) {
  const std::int64_t a_pitch = a_is_transposed(layout) ? m : k;
  const std::int64_t b_pitch = b_is_transposed(layout) ? k : n;
  return static_cast<int>(std::min(
      {static_cast<std::int64_t>(max_alignment), largest_power_of_two_in(a_pitch), largest_power_of_two_in(b_pitch)}));
}

std::string to_string(const GemmProblem& p) {
  std::string text = std::string(to_string(p.op)) + " ";
  if (p.batch != 1) text += std::to_string(p.batch) + "x";
  text += std::to_string(p.m) + "x" + std::to_string(p.n) + "x" + std::to_string(p.k) + " " +
          std::string(to_string(p.a_dtype));
  if (p.b_dtype != p.a_dtype) text += "/" + std::string(to_string(p.b_dtype));
  if (p.out_dtype != p.a_dtype) text += "->" + std::string(to_string(p.out_dtype));
  if (p.precision == Precision::tf32) text += " tf32";
  if (p.scaling == Scaling::row) text += " row-scaled";
  text += " " + std::string(to_string(p.layout)) + " align " + std::to_string(p.alignment);
  if (p.epilogue != Epilogue::none) text += " +" + std::string(to_string(p.epilogue));
  return text;
}

std::size_t hash_value(const GemmProblem& p) {
  return hash_of(p.op, p.m, p.n, p.k, p.batch, p.a_dtype, p.b_dtype, p.out_dtype, p.precision, p.scaling, p.layout,
                 p.alignment, p.epilogue);
}

}  // namespace gemm_tuner
