// How the library computes it: one algorithm of cuBLASLt's.
#pragma once

#include <cstddef>
#include <string>

namespace gemm_tuner {

/// An algorithm as the library describes it. The words alone say what runs; the numbers behind them are what the
/// library says of it, for people. Both mean something to the very version of the library that gave them, and to no
/// other.
struct LibraryAlgorithm {
  std::string words;  // cublasLtMatmulAlgo_t, 64 bytes as hexadecimal digits
  int id = 0;
  int tile = 0;    // cublasLtMatmulTile_t
  int stages = 0;  // cublasLtMatmulStages_t
  int split_k = 1;
  int reduction = 0;  // cublasLtReductionScheme_t
  int swizzle = 0;
  int custom_option = 0;
  long long workspace_bytes = 0;  // that it needs for the problem it was found for

  bool operator==(const LibraryAlgorithm&) const = default;
};

inline constexpr std::size_t algorithm_digits = 128;

/// Throws std::invalid_argument with a sentence where it cannot be.
void validate(const LibraryAlgorithm& algorithm);

std::string to_string(const LibraryAlgorithm& algorithm);

}  // namespace gemm_tuner
