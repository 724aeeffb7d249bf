// One way to combine hashes, for the value types that key tables.
#pragma once

#include <cstddef>
#include <functional>

namespace gemm_tuner {

template <class... Fields>
std::size_t hash_of(const Fields&... fields) {
  std::size_t seed = 0;
  // the golden-ratio mix of boost::hash_combine, widened to 64 bits
  ((seed ^= std::hash<Fields>{}(fields) + 0x9e3779b97f4a7c15ULL + (seed << 6) + (seed >> 2)), ...);
  return seed;
}

}  // namespace gemm_tuner
