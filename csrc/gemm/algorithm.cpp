#include "gemm/algorithm.hpp"

#include <algorithm>
#include <stdexcept>

namespace gemm_tuner {

void validate(const LibraryAlgorithm& algorithm) {
  const auto is_digit = [](char each) { return (each >= '0' && each <= '9') || (each >= 'a' && each <= 'f'); };
  const std::string& words = algorithm.words;
  if (words.size() != algorithm_digits || !std::all_of(words.begin(), words.end(), is_digit)) {
    throw std::invalid_argument("the words of an algorithm must be " + std::to_string(algorithm_digits) +
                                " hexadecimal digits, got '" + words + "'");
  }
  if (algorithm.workspace_bytes < 0) {
    throw std::invalid_argument("workspace_bytes must be at least 0, got " + std::to_string(algorithm.workspace_bytes));
  }
}

std::string to_string(const LibraryAlgorithm& algorithm) {
  std::string text = "cublaslt " + std::to_string(algorithm.id) + " tile " + std::to_string(algorithm.tile) +
                     " stages " + std::to_string(algorithm.stages);
  if (algorithm.split_k > 1) text += " split_k " + std::to_string(algorithm.split_k);
  if (algorithm.swizzle != 0) text += " swizzle " + std::to_string(algorithm.swizzle);
  if (algorithm.custom_option != 0) text += " option " + std::to_string(algorithm.custom_option);
  return text;
}

}  // namespace gemm_tuner
