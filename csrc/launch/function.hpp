// A compiled kernel and how it is to be launched; loaded, it is ready for any stream of its device.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "device/owned.hpp"

namespace gemm_tuner {

/// A parameter of a kernel: the address of the operand of that name, an integer of that width, or a null pointer.
using Argument = std::variant<std::nullptr_t, std::string, std::int32_t, std::int64_t>;

/// arguments: all that the kernel takes, in order. Triton's kernels take two more pointers than their source says, for
/// scratch memory, at the end: null both, and where the compiler asks for global_scratch_bytes of each CTA, the last
/// but one becomes the address of that much.
struct Launch {
  std::string cubin;
  std::string entry;
  std::array<int, 3> grid{1, 1, 1};
  int num_warps = 4;
  int smem_bytes = 0;  // dynamic
  std::vector<Argument> arguments;
  long long global_scratch_bytes = 0;
};

/// std::invalid_argument where the launch makes no sense.
void validate(const Launch& launch);
/// Of all CTAs together.
std::size_t scratch_bytes(const Launch& launch);
/// Which argument the address of the scratch memory becomes.
std::size_t scratch_argument(const Launch& launch);

/// Of a driver since CUDA 12.0 a kernel that every context of the device can launch, green ones too; of an older one a
/// function of the context that it was loaded in.
class LoadedFunction {
 public:
  /// Loads the launch's entry, and lets it have the launch's shared memory. Needs a current context of that device.
  /// DriverError where the driver refuses it.
  LoadedFunction(const Driver& driver, cuda::Device device, const Launch& launch);

  cuda::Function handle() const { return handle_; }
  /// std::invalid_argument where the launch gives other parameters than the kernel takes, as far as the driver can
  /// tell (CUDA 12.4).
  void verify_parameters(const Driver& driver, const Launch& launch) const;

 private:
  void load_library(const Driver& driver, cuda::Device device, const Launch& launch);
  void load_module(const Driver& driver, const Launch& launch);

  Owned<cuda::KernelLibrary> library_;
  Owned<cuda::Module> module_;
  cuda::Function handle_ = nullptr;      // what is launched
  cuda::Function in_context_ = nullptr;  // the same in the context that it was loaded in
};

/// Grid, CTA and shared memory of a launch, as the driver takes them.
struct LaunchShape {
  explicit LaunchShape(const Launch& launch);
  /// Puts one launch on the stream. arguments: the addresses of their values.
  void enqueue(const Driver& driver, cuda::Function function, cuda::Stream stream, void** arguments) const {
    driver.call(driver.cuLaunchKernel, function, grid[0], grid[1], grid[2], threads, 1U, 1U, smem_bytes, stream,
                arguments, nullptr);
  }
  std::array<unsigned, 3> grid;
  unsigned threads;
  unsigned smem_bytes;
};

/// The bits of an integer or null argument, in the first bytes; 0 for an operand.
std::uint64_t bits_of(const Argument& argument);

}  // namespace gemm_tuner
