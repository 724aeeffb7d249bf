// A compiled kernel and how it is to be launched; loaded, it is ready to be put on a stream again and again.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "tuning/arena.hpp"

namespace gemm_tuner {

/// A parameter of a kernel: the address of the operand of that name, an integer of that width, or a null pointer.
using Argument = std::variant<std::nullptr_t, std::string, std::int32_t, std::int64_t>;

/// arguments: all that the kernel takes, in order. Triton's kernels take two more pointers than their source says, for
/// scratch memory, at the end: null, and where the compiler asks for global_scratch_bytes of each CTA, the first null
/// becomes the address of that much.
struct Launch {
  std::string cubin;
  std::string entry;
  std::array<int, 3> grid{1, 1, 1};
  int num_warps = 4;
  int smem_bytes = 0;  // dynamic
  std::vector<Argument> arguments;
  long long global_scratch_bytes = 0;
};

class Kernel {
 public:
  /// std::invalid_argument where the launch makes no sense, names an operand that is not there, or gives other
  /// parameters than the kernel takes, as far as the driver can tell (CUDA 12.4). DriverError where the driver refuses
  /// it. Needs a current context.
  Kernel(const Driver& driver, const Launch& launch, const Arena& arena);

  /// Puts one launch on the stream, on that operand set.
  void enqueue(const Driver& driver, cuda::Stream stream, int set);

 private:
  struct Pointer {
    std::size_t argument;
    cuda::Address first;
    std::size_t stride;
  };
  void set_arguments(const Driver& driver, const Launch& launch, const Arena& arena);

  Owned<cuda::Module> module_;
  cuda::Function function_ = nullptr;
  std::array<unsigned, 3> grid_;
  unsigned threads_;
  unsigned smem_bytes_;
  Owned<cuda::Address> scratch_;
  std::vector<std::uint64_t> values_;  // of the arguments, each in its first bytes
  std::vector<void*> arguments_;       // their addresses
  std::vector<Pointer> pointers_;      // which differ from set to set
};

}  // namespace gemm_tuner
