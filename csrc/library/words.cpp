#include "library/words.hpp"

#include <stdexcept>

namespace gemm_tuner {
namespace cublaslt {
namespace {

/// The library's word for the activation; nothing where it has none.
std::optional<std::uint32_t> activation_of(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::none:
    case Epilogue::bias:
      return 0;
    case Epilogue::relu:
    case Epilogue::bias_relu:
      return epilogue_relu;
    case Epilogue::gelu_tanh:
    case Epilogue::bias_gelu_tanh:
      return epilogue_gelu;
    default:
      return std::nullopt;
  }
}

}  // namespace

DataType type_of(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return DataType::real_16f;
    case DType::bfloat16:
      return DataType::real_16bf;
    case DType::float32:
      return DataType::real_32f;
    case DType::float8_e4m3fn:
      return DataType::real_8f_e4m3;
    case DType::float8_e5m2:
      return DataType::real_8f_e5m2;
    case DType::int8:
      return DataType::real_8i;
    case DType::int32:
      return DataType::real_32i;
  }
  throw std::invalid_argument("the library has no such dtype");
}

bool is_integer(const GemmProblem& problem) { return problem.a_dtype == DType::int8; }

ComputeType compute_of(const GemmProblem& problem) {
  if (is_integer(problem)) return ComputeType::compute_32i;
  return problem.precision == Precision::tf32 ? ComputeType::compute_32f_fast_tf32 : ComputeType::compute_32f;
}

bool adds_bias(const GemmProblem& problem) {
  switch (problem.epilogue) {
    case Epilogue::bias:
    case Epilogue::bias_relu:
    case Epilogue::bias_gelu:
    case Epilogue::bias_gelu_tanh:
    case Epilogue::bias_silu:
      return true;
    default:
      return problem.op == Op::addmm || problem.op == Op::baddbmm;
  }
}

std::uint32_t epilogue_of(const GemmProblem& problem) {
  const std::uint32_t parts = activation_of(problem.epilogue).value_or(0) | (adds_bias(problem) ? epilogue_bias : 0);
  return parts == 0 ? epilogue_default : parts;
}

}  // namespace cublaslt

std::optional<std::string> why_library_lacks(const GemmProblem& problem) {
  const std::string lacks = "one call of cuBLASLt cannot compute " + to_string(problem) + ": ";
  if (problem.op == Op::mm_plus_mm) return lacks + "it is the sum of two products";
  if (problem.op == Op::scaled_mm && problem.scaling == Scaling::row) return lacks + "each row has a scale";
  if (!cublaslt::activation_of(problem.epilogue)) {
    return lacks + "it has no " + std::string(to_string(problem.epilogue));
  }
  if (cublaslt::is_integer(problem) &&
      (problem.out_dtype != DType::int32 || cublaslt::epilogue_of(problem) != cublaslt::epilogue_default)) {
    return lacks + "of an integer product it gives the sums, as int32";
  }
  return std::nullopt;
}

}  // namespace gemm_tuner
