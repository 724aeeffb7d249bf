#include "numbers.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace fake_cublaslt {
namespace {

/// Of so many bits of exponent and mantissa, the sign before them.
double decoded(unsigned bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto mantissa = static_cast<double>(bits & ((1U << mantissa_bits) - 1));
  const auto exponent = static_cast<int>((bits >> mantissa_bits) & ((1U << exponent_bits) - 1));
  const double sign = (bits >> (exponent_bits + mantissa_bits)) != 0 ? -1 : 1;
  const double fraction = exponent == 0 ? mantissa : mantissa + std::ldexp(1, mantissa_bits);
  return sign * std::ldexp(fraction, (exponent == 0 ? 1 : exponent) - bias - mantissa_bits);
}

/// float16 of a number in its range, rounded to the nearest.
std::uint16_t half_of(double value) {
  const unsigned sign = std::signbit(value) ? 0x8000U : 0U;
  const double size = std::fabs(value);
  const int exponent = size == 0 ? -14 : std::max(-14, std::ilogb(size));
  auto mantissa = static_cast<unsigned>(std::nearbyint(std::ldexp(size, 10 - exponent)));
  // a mantissa of 1024 and more carries into the exponent by itself; below the normal numbers the exponent is 0
  return static_cast<std::uint16_t>(sign + (static_cast<unsigned>(exponent + 14) << 10) + mantissa);
}

std::uint16_t bfloat_of(double value) {
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

template <class T>
T at(const void* memory, std::size_t index) {
  return static_cast<const T*>(memory)[index];
}

template <class T>
void put(void* memory, std::size_t index, double value) {
  static_cast<T*>(memory)[index] = static_cast<T>(value);
}

}  // namespace

double load(int type, const void* memory, std::size_t index) {
  switch (type) {
    case real_32f:
      return at<float>(memory, index);
    case real_16f:
      return decoded(at<std::uint16_t>(memory, index), 5, 10);
    case real_16bf:
      return std::bit_cast<float>(static_cast<std::uint32_t>(at<std::uint16_t>(memory, index)) << 16);
    case real_8f_e4m3:
      return decoded(at<std::uint8_t>(memory, index), 4, 3);
    case real_8i:
      return at<std::int8_t>(memory, index);
    default:
      return at<std::int32_t>(memory, index);
  }
}

void store(int type, void* memory, std::size_t index, double value) {
  switch (type) {
    case real_32f:
      return put<float>(memory, index, value);
    case real_16f:
      static_cast<std::uint16_t*>(memory)[index] = half_of(value);
      return;
    case real_16bf:
      static_cast<std::uint16_t*>(memory)[index] = bfloat_of(value);
      return;
    default:
      return put<std::int32_t>(memory, index, value);
  }
}

bool is_known(int type) {
  return type == real_32f || type == real_16f || type == real_16bf || type == real_8i || type == real_32i ||
         type == real_8f_e4m3;
}

}  // namespace fake_cublaslt
