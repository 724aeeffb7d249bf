// The operands of timed kernels: whole sets of them in one allocation, so many that launches which take the sets in
// turn never find theirs in L2.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "device/owned.hpp"

namespace gemm_tuner {

/// fill: a dtype (random numbers), "zeros", "ones_f32" or "poison" (fill.hpp). shared: there is one for all sets, as
/// for what only a check reads or a kernel writes before it reads it.
struct Operand {
  std::string name;
  long long bytes = 0;
  std::string fill = "zeros";
  bool shared = false;
  bool operator==(const Operand&) const = default;
};

/// Where an operand lies: `offset` into the allocation in set 0, `stride` from set to set, 0 for a shared one.
struct Place {
  std::size_t offset;
  std::size_t stride;
  std::size_t bytes;
};

/// Shared operands first, then the sets one after the other.
struct ArenaLayout {
  std::map<std::string, Place> places;
  std::size_t shared_bytes = 0;
  std::size_t set_bytes = 0;
  int sets = 0;
  std::size_t bytes() const { return shared_bytes + set_bytes * static_cast<std::size_t>(sets); }
};

/// At least 2 sets, and so many that they are more than twice the L2; fewer, down to 1, where free memory holds no
/// more. std::invalid_argument for an operand without name or size, a name that is there twice, or an unknown fill.
ArenaLayout layout_of(const std::vector<Operand>& operands, std::size_t l2_bytes, std::size_t free_bytes);

/// Allocated and filled; every set holds the same numbers. Needs a current context.
class Arena {
 public:
  Arena(const Driver& driver, cuda::Stream stream, std::vector<Operand> operands, std::size_t l2_bytes,
        std::uint64_t seed);

  int sets() const { return layout_.sets; }
  /// std::invalid_argument where there is none of that name.
  const Place& place(const std::string& name) const;
  /// std::invalid_argument also where there is no such set.
  cuda::Address address(const std::string& name, int set) const;
  cuda::Address start() const { return memory_.get(); }

  /// Fills one operand anew; the same random numbers as before where the fill is the same.
  void fill(const Driver& driver, cuda::Stream stream, const std::string& name, const std::string& fill, int set);

 private:
  std::uint64_t seed_;
  ArenaLayout layout_;
  Owned<cuda::Address> memory_;
};

}  // namespace gemm_tuner
