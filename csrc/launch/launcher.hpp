// Kernels loaded once on a device, and put on any stream of it from any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "launch/function.hpp"

namespace gemm_tuner {

/// A device, by its primary context, which other libraries of the process share.
struct Home {
  Home(Driver driver, int ordinal);

  /// Calls `act` in a context of this device: the current one where it is one, else the primary one.
  template <class Act>
  void in_context(Act act) const {
    if (is_current()) return act();
    const Current current(driver, context);
    act();
  }
  bool is_current() const;
  void end(const LoadedFunction* function) const noexcept;

  Driver driver;
  cuda::Device device;
  cuda::Context context = nullptr;
  Owned<cuda::Device> retained;
};

/// Work that a GPU is ready for. Nothing in it changes, so threads may share it.
class ReadyWork {
 public:
  virtual ~ReadyWork() = default;
  /// Names of the operands whose addresses it takes, in order.
  virtual const std::vector<std::string>& operands() const = 0;
  /// Puts it on the stream. std::invalid_argument for another number of addresses than operands.
  virtual void enqueue(cuda::Stream stream, std::span<const cuda::Address> addresses) const = 0;
};

/// Launches that together are one piece of work.
class LoadedKernel : public ReadyWork {
 public:
  /// An operand called `global_scratch` is memory that a compiler asked for, of so many bytes; nothing needs to be in
  /// it.
  const std::vector<std::string>& operands() const override { return operands_; }
  std::size_t scratch_bytes() const { return scratch_bytes_; }

  /// Puts the launches on the stream, in order. DriverError where the driver refuses a launch.
  void enqueue(cuda::Stream stream, std::span<const cuda::Address> addresses) const override;

 private:
  friend class Launcher;
  struct Step {
    LaunchShape shape;
    std::shared_ptr<const LoadedFunction> function;
    std::vector<std::uint64_t> values;                          // of the arguments, each in its first bytes
    std::vector<std::pair<std::size_t, std::size_t>> pointers;  // which argument, which operand
  };
  explicit LoadedKernel(std::shared_ptr<const Home> home) : home_(std::move(home)) {}
  void add(const Launch& launch, std::shared_ptr<const LoadedFunction> function);
  std::size_t operand(const std::string& name);

  std::shared_ptr<const Home> home_;
  std::vector<Step> steps_;
  std::vector<std::string> operands_;
  std::size_t scratch_bytes_ = 0;
};

/// A cubin is loaded the first time that it is asked for and stays for as long as the Launcher or one of its kernels
/// is there: a CUDA graph that has captured a launch does not keep the kernel alive by itself.
class Launcher {
 public:
  /// NoDeviceError where there is no driver or no such device, DriverError where the driver fails.
  Launcher(Driver driver, int ordinal);

  /// std::invalid_argument where a launch makes no sense, or gives other parameters than the kernel takes, as far as
  /// the driver can tell (CUDA 12.4). DriverError where the driver refuses it.
  LoadedKernel load(const std::vector<Launch>& launches);
  int loaded() const;

 private:
  std::shared_ptr<const LoadedFunction> function_of(const Launch& launch);

  using Key = std::tuple<std::string, std::string, int>;  // cubin, entry, bytes of shared memory
  std::shared_ptr<const Home> home_;
  mutable std::mutex mutex_;
  std::map<Key, std::shared_ptr<const LoadedFunction>> functions_;
};

}  // namespace gemm_tuner
