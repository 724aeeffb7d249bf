#include "tuning/fill.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "gemm/types.hpp"

namespace gemm_tuner {
namespace {

constexpr std::size_t period_elements = 65521;  // the largest prime below 2**16: enough, and made in a millisecond

/// splitmix64 (Steele, Lea, Flood 2014): the i-th number of the sequence that the seed begins.
std::uint64_t random_bits(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// In [-1, 1]: the mean of four uniform numbers of 16 bits.
double random_number(std::uint64_t seed, std::uint64_t i) {
  const std::uint64_t bits = random_bits(seed, i);
  const std::uint64_t sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
  return static_cast<double>(sum) / (2.0 * 0xffff) - 1;
}

struct FloatFormat {
  int mantissa_bits;
  int bias;
  int bytes;
};

/// IEEE-like bits of a number of magnitude up to 1, rounded to nearest even, small ones to subnormals.
std::uint32_t encode(double value, const FloatFormat& format) {
  const double magnitude = std::abs(value);
  const int exponent = std::max(magnitude > 0 ? std::ilogb(magnitude) : 0, 1 - format.bias);
  const auto steps = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(magnitude, format.mantissa_bits - exponent)));
  // a normal number's steps hold its leading 1, which adds to the exponent, as does a carry of the rounding
  const auto field = static_cast<std::uint32_t>(exponent + format.bias - 1) << format.mantissa_bits;
  const std::uint32_t sign = std::signbit(value) ? 1U << (8 * format.bytes - 1) : 0;
  return sign | (magnitude > 0 ? field + steps : 0);
}

std::optional<FloatFormat> float_format(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return FloatFormat{10, 15, 2};
    case DType::bfloat16:
      return FloatFormat{7, 127, 2};
    case DType::float32:
      return FloatFormat{23, 127, 4};
    case DType::float8_e4m3fn:
      return FloatFormat{3, 7, 1};
    case DType::float8_e5m2:
      return FloatFormat{2, 15, 1};
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<std::uint32_t> repeated_word(std::string_view fill) {
  if (fill == "zeros") return 0;
  if (fill == "ones_f32") return 0x3f800000;
  if (fill == "poison") return 0xffffffff;
  return std::nullopt;
}

std::vector<std::byte> random_period(std::string_view fill, std::uint64_t seed, std::size_t bytes) {
  const auto dtype = from_string<DType>(fill);
  const std::optional<FloatFormat> format = float_format(dtype);
  const std::size_t element_bytes = format ? static_cast<std::size_t>(format->bytes) : dtype == DType::int8 ? 1 : 4;
  std::vector<std::byte> period(period_elements * element_bytes);
  for (std::size_t i = 0; i < period_elements; ++i) {
    const double number = random_number(seed, i);
    // little-endian, as every GPU and every host of one is
    const std::uint32_t bits = format ? encode(number, *format)
                                      : static_cast<std::uint32_t>(static_cast<std::int32_t>(std::lround(8 * number)));
    std::memcpy(&period[i * element_bytes], &bits, element_bytes);
  }
  period.resize(std::min(period.size(), bytes));
  return period;
}

void validate_fill(std::string_view fill) {
  if (repeated_word(fill)) return;
  try {
    from_string<DType>(fill);
  } catch (const std::invalid_argument&) {
    throw std::invalid_argument("fill must be a dtype, zeros, ones_f32 or poison, got '" + std::string(fill) + "'");
  }
}

}  // namespace gemm_tuner
