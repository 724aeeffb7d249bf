#include "launch/launch_cache.hpp"

#include <algorithm>
#include <cstring>

namespace gemm_tuner {
namespace {

constexpr cuda::Address widest_bytes = 16;  // of one load: no compiler makes use of more

}  // namespace

void CallKey::add_tensor(const TensorView& tensor) {
  const cuda::Address lowest_bit = tensor.address & (~tensor.address + 1);
  const cuda::Address alignment = tensor.address == 0 ? widest_bytes : std::min(lowest_bit, widest_bytes);
  add(static_cast<std::int64_t>(tensor.sizes.size() + 1) << 8 | static_cast<std::int64_t>(alignment));
  add(tensor.dtype);
  add(tensor.device);
  for (const std::int64_t size : tensor.sizes) add(size);
  for (const std::int64_t stride : tensor.strides) add(stride);
}

void CallKey::add_absent() { add(0); }

void CallKey::add_text(std::string_view text) {
  add(static_cast<std::int64_t>(text.size()));
  for (; !text.empty(); text.remove_prefix(std::min(text.size(), sizeof(std::int64_t)))) {
    std::int64_t word = 0;
    std::memcpy(&word, text.data(), std::min(text.size(), sizeof word));
    add(word);
  }
}

/// Each word is mixed by a multiplication and a shift, as splitmix64 does.
std::size_t WordsHash::operator()(std::span<const std::int64_t> words) const {
  std::uint64_t hash = words.size();
  for (const std::int64_t word : words) {
    hash = (hash ^ static_cast<std::uint64_t>(word)) * 0xbf58476d1ce4e5b9;
    hash ^= hash >> 29;
  }
  return hash;
}

bool WordsEqual::operator()(std::span<const std::int64_t> a, std::span<const std::int64_t> b) const {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

}  // namespace gemm_tuner
