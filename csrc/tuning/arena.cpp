#include "tuning/arena.hpp"

#include <algorithm>
#include <stdexcept>

#include "tuning/fill.hpp"

namespace gemm_tuner {
namespace {

constexpr std::size_t alignment_bytes = 256;  // that of cuMemAlloc
constexpr double usable_fraction = 0.9;       // of free memory: the rest is for the library's workspace and output
constexpr std::size_t l2_multiple = 2;        // L2 keeps no strict order: twice its size has surely pushed all out

std::size_t aligned(std::size_t bytes) { return (bytes + alignment_bytes - 1) / alignment_bytes * alignment_bytes; }

void validate(const Operand& operand) {
  if (operand.name.empty()) throw std::invalid_argument("an operand must have a name");
  if (operand.bytes < 1)
    throw std::invalid_argument("operand '" + operand.name + "' must have at least 1 byte, got " +
                                std::to_string(operand.bytes));
  validate_fill(operand.fill);
}

/// FNV-1a: operands of different names have different numbers.
std::uint64_t seed_of(const std::string& name, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (const char letter : name) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  return hash;
}

/// The first `filled` bytes over and over, by copies that double.
void repeat(const Driver& driver, cuda::Stream stream, cuda::Address start, std::size_t filled, std::size_t bytes) {
  while (filled < bytes) {
    const std::size_t next = std::min(filled, bytes - filled);
    driver.call(driver.cuMemcpyDtoDAsync, start + filled, start, next, stream);
    filled += next;
  }
}

std::size_t free_bytes(const Driver& driver) {
  std::size_t free = 0;
  std::size_t total = 0;
  driver.call(driver.cuMemGetInfo, &free, &total);
  return free;
}

std::string names_of(const std::map<std::string, Place>& places) {
  std::string names;
  for (const auto& [name, place] : places) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "none" : names;
}

}  // namespace

ArenaLayout layout_of(const std::vector<Operand>& operands, std::size_t l2_bytes, std::size_t free_bytes) {
  ArenaLayout layout;
  for (const Operand& operand : operands) {
    validate(operand);
    const auto bytes = static_cast<std::size_t>(operand.bytes);
    std::size_t& end = operand.shared ? layout.shared_bytes : layout.set_bytes;
    if (!layout.places.emplace(operand.name, Place{end, 0, bytes}).second) {
      throw std::invalid_argument("two operands are called '" + operand.name + "'");
    }
    end += aligned(bytes);
  }
  for (const Operand& operand : operands) {
    if (operand.shared) continue;
    Place& place = layout.places.at(operand.name);
    place.offset += layout.shared_bytes;
    place.stride = layout.set_bytes;
  }
  if (layout.set_bytes == 0) {
    layout.sets = 1;
    return layout;
  }
  const auto usable = static_cast<std::size_t>(usable_fraction * static_cast<double>(free_bytes));
  const std::size_t wanted = std::max<std::size_t>(2, l2_multiple * l2_bytes / layout.set_bytes + 1);
  const std::size_t room = usable > layout.shared_bytes ? (usable - layout.shared_bytes) / layout.set_bytes : 0;
  layout.sets = static_cast<int>(std::max<std::size_t>(1, std::min(wanted, room)));
  return layout;
}

Arena::Arena(const Driver& driver, cuda::Stream stream, std::vector<Operand> operands, std::size_t l2_bytes,
             std::uint64_t seed)
    : seed_(seed), layout_(layout_of(operands, l2_bytes, free_bytes(driver))) {
  if (layout_.bytes() == 0) return;
  memory_ = allocate_bytes(driver, layout_.bytes());
  for (const Operand& operand : operands) fill(driver, stream, operand.name, operand.fill, 0);
  repeat(driver, stream, start() + layout_.shared_bytes, layout_.set_bytes, layout_.bytes() - layout_.shared_bytes);
  driver.call(driver.cuStreamSynchronize, stream);
}

const Place& Arena::place(const std::string& name) const {
  const auto found = layout_.places.find(name);
  if (found != layout_.places.end()) return found->second;
  throw std::invalid_argument("there is no operand '" + name + "'; allocated are: " + names_of(layout_.places));
}

cuda::Address Arena::address(const std::string& name, int set) const {
  const Place& found = place(name);
  if (set < 0 || set >= sets()) {
    throw std::invalid_argument("set must be from 0 to " + std::to_string(sets() - 1) + ", got " + std::to_string(set));
  }
  return start() + found.offset + found.stride * static_cast<std::size_t>(set);
}

void Arena::fill(const Driver& driver, cuda::Stream stream, const std::string& name, const std::string& fill, int set) {
  validate_fill(fill);
  const cuda::Address target = address(name, set);
  const std::size_t bytes = place(name).bytes;
  if (const std::optional<std::uint32_t> word = repeated_word(fill)) {
    driver.call(driver.cuMemsetD32Async, target, *word, (bytes + 3) / 4, stream);  // the alignment leaves the room
    return;
  }
  const std::vector<std::byte> period = random_period(fill, seed_of(name, seed_), bytes);
  driver.call(driver.cuMemcpyHtoDAsync, target, period.data(), period.size(), stream);
  repeat(driver, stream, target, period.size(), bytes);
}

}  // namespace gemm_tuner
