// A loaded kernel on the operands of an arena, ready to be timed again and again on one operand set after the other.
#pragma once

#include <vector>

#include "launch/function.hpp"
#include "tuning/arena.hpp"

namespace gemm_tuner {

class Kernel {
 public:
  /// std::invalid_argument where the launch makes no sense, names an operand that is not there, or gives other
  /// parameters than the kernel takes, as far as the driver can tell. DriverError where the driver refuses it. Needs a
  /// current context of that device.
  Kernel(const Driver& driver, cuda::Device device, const Launch& launch, const Arena& arena);

  /// Puts one launch on the stream, on that operand set.
  void enqueue(const Driver& driver, cuda::Stream stream, int set);

 private:
  struct Pointer {
    std::size_t argument;
    cuda::Address first;
    std::size_t stride;
  };
  void set_arguments(const Launch& launch, const Arena& arena);

  LaunchShape shape_;
  LoadedFunction function_;
  Owned<cuda::Address> scratch_;
  std::vector<std::uint64_t> values_;  // of the arguments, each in its first bytes
  std::vector<void*> arguments_;       // their addresses
  std::vector<Pointer> pointers_;      // which differ from set to set
};

}  // namespace gemm_tuner
