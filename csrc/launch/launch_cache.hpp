// From what an operator is called with to what was found for such a call, in a fraction of a microsecond.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "device/driver.hpp"

namespace gemm_tuner {

/// A tensor as its owner describes it; sizes and strides in elements. dtype, device: numbers that tell them apart.
struct TensorView {
  cuda::Address address = 0;
  std::span<const std::int64_t> sizes;
  std::span<const std::int64_t> strides;
  std::int64_t dtype = 0;
  std::int64_t device = 0;
};

/// What a kernel is chosen and compiled by: the operator, its integers and texts, and of each operand dtype, device,
/// sizes, strides and to what power of two, up to 16, its address is aligned. Made on the stack, and compared word by
/// word.
class CallKey {
 public:
  explicit CallKey(std::int64_t op) { add(op); }
  void add_tensor(const TensorView& tensor);
  void add_absent();
  void add_text(std::string_view text);
  void add(std::int64_t word) {
    if (count_ < capacity) {
      words_[count_++] = word;
    } else {
      whole_ = false;
    }
  }

  std::span<const std::int64_t> words() const { return {words_.data(), count_}; }
  /// False where a tensor has more dimensions than are kept: nothing is found by such a key.
  bool whole() const { return whole_; }

 private:
  static constexpr std::size_t capacity = 72;  // eight operands of three dimensions
  std::array<std::int64_t, capacity> words_;
  std::size_t count_ = 0;
  bool whole_ = true;
};

struct WordsHash {
  using is_transparent = void;
  std::size_t operator()(std::span<const std::int64_t> words) const;
};
struct WordsEqual {
  using is_transparent = void;
  bool operator()(std::span<const std::int64_t> a, std::span<const std::int64_t> b) const;
};

/// Any thread may look up while another inserts. What was found stays valid after it was replaced or forgotten.
template <class Value>
class LaunchCache {
 public:
  std::shared_ptr<const Value> find(const CallKey& key) const {
    if (!key.whole()) return nullptr;
    const std::shared_lock lock(mutex_);
    const auto found = values_.find(key.words());
    return found == values_.end() ? nullptr : found->second;
  }
  void insert(std::vector<std::int64_t> words, std::shared_ptr<const Value> value) {
    const std::unique_lock lock(mutex_);
    std::swap(values_[std::move(words)], value);  // what was there ends without the lock
  }
  std::size_t size() const {
    const std::shared_lock lock(mutex_);
    return values_.size();
  }
  /// Forgets everything, and gives it to the caller, to be ended without the lock.
  auto clear() {
    const std::unique_lock lock(mutex_);
    return std::exchange(values_, {});
  }

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<std::vector<std::int64_t>, std::shared_ptr<const Value>, WordsHash, WordsEqual> values_;
};

}  // namespace gemm_tuner
