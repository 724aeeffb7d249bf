#include "gemm/types.hpp"

#include <stdexcept>

namespace gemm_tuner {

void throw_unknown_name(std::string_view noun, std::string_view given, const std::string& known) {
  throw std::invalid_argument("unknown " + std::string(noun) + " '" + std::string(given) + "'; known: " + known);
}

int bytes_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::float16:
    case DType::bfloat16:
      return 2;
    case DType::float8_e4m3fn:
    case DType::float8_e5m2:
    case DType::int8:
      return 1;
  }
  throw std::invalid_argument("dtype is none of the known values");
}

}  // namespace gemm_tuner
