// What device memory is filled with before kernels are timed or checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace gemm_tuner {

/// The 4 bytes that "zeros", "ones_f32" (1 as a float32) and "poison" (all bits set: NaN in every float type) repeat;
/// none for the other fills.
std::optional<std::uint32_t> repeated_word(std::string_view fill);

/// Random numbers of the type that `fill` names, the same for the same seed on every platform: in [-1, 1] with a bell
/// curve's shape, integers in [-8, 8] for the integer types. At most `bytes`, and at most the period: what follows
/// repeats it. The period is a prime number of elements, so that no tile, row or column of a matrix looks like another.
/// std::invalid_argument for a word that is neither a type nor a repeated word.
std::vector<std::byte> random_period(std::string_view fill, std::uint64_t seed, std::size_t bytes);

/// std::invalid_argument where `fill` is nothing to fill with.
void validate_fill(std::string_view fill);

}  // namespace gemm_tuner
