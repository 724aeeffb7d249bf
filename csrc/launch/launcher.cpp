#include "launch/launcher.hpp"

#include <algorithm>
#include <stdexcept>

#include "device/query.hpp"

namespace gemm_tuner {
namespace {

constexpr std::size_t max_arguments = 64;  // of one launch: their addresses are put together on the stack
constexpr const char* scratch_operand = "global_scratch";

}  // namespace

Home::Home(Driver driver_given, int ordinal) : driver(std::move(driver_given)), device(device_at(driver, ordinal)) {
  driver.call(driver.cuDevicePrimaryCtxRetain, &context, device);
  retained = {device, driver.cuDevicePrimaryCtxRelease};
}

/// The primary context nearly always; a green context or one that a program made itself will do too.
bool Home::is_current() const {
  cuda::Context now = nullptr;
  if (driver.cuCtxGetCurrent.address(&now) != cuda::success || now == nullptr) return false;
  if (now == context) return true;
  cuda::Device its_device = -1;
  return driver.cuCtxGetDevice.address(&its_device) == cuda::success && its_device == device;
}

/// Unloading takes the context too, whoever lets go of the kernel last, and wherever. In a process that ends, or after
/// a fault, the driver may give none any more: what is left to unload then goes with the process.
void Home::end(const LoadedFunction* function) const noexcept {
  cuda::Context popped = nullptr;
  const bool pushed = driver.cuCtxPushCurrent.address(context) == cuda::success;
  delete function;
  if (pushed) driver.cuCtxPopCurrent.address(&popped);
}

std::size_t LoadedKernel::operand(const std::string& name) {
  const auto found = std::find(operands_.begin(), operands_.end(), name);
  if (found != operands_.end()) return static_cast<std::size_t>(found - operands_.begin());
  operands_.push_back(name);
  return operands_.size() - 1;
}

void LoadedKernel::add(const Launch& launch, std::shared_ptr<const LoadedFunction> function) {
  Step step{LaunchShape(launch), std::move(function), {}, {}};
  for (std::size_t i = 0; i < launch.arguments.size(); ++i) {
    const Argument& argument = launch.arguments[i];
    step.values.push_back(bits_of(argument));
    if (const auto* name = std::get_if<std::string>(&argument)) step.pointers.emplace_back(i, operand(*name));
  }
  if (launch.global_scratch_bytes > 0) {  // one for all steps, which come one after the other
    step.pointers.emplace_back(scratch_argument(launch), operand(scratch_operand));
    scratch_bytes_ = std::max(scratch_bytes_, gemm_tuner::scratch_bytes(launch));
  }
  steps_.push_back(std::move(step));
}

void LoadedKernel::enqueue(cuda::Stream stream, std::span<const cuda::Address> addresses) const {
  if (addresses.size() != operands_.size()) {
    throw std::invalid_argument("the kernel takes the addresses of " + std::to_string(operands_.size()) +
                                " operands, got " + std::to_string(addresses.size()));
  }
  home_->in_context([&] {
    for (const Step& step : steps_) {
      // the driver copies the values during the call, and writes none
      void* arguments[max_arguments];
      for (std::size_t i = 0; i < step.values.size(); ++i) {
        arguments[i] = const_cast<std::uint64_t*>(&step.values[i]);
      }
      for (const auto& [argument, operand] : step.pointers) {
        arguments[argument] = const_cast<cuda::Address*>(&addresses[operand]);
      }
      step.shape.enqueue(home_->driver, step.function->handle(), stream, arguments);
    }
  });
}

Launcher::Launcher(Driver driver, int ordinal) : home_(std::make_shared<Home>(std::move(driver), ordinal)) {}

LoadedKernel Launcher::load(const std::vector<Launch>& launches) {
  if (launches.empty()) throw std::invalid_argument("there is nothing to load: give at least one launch");
  LoadedKernel kernel(home_);
  for (const Launch& launch : launches) {
    validate(launch);
    if (launch.arguments.size() > max_arguments) {
      throw std::invalid_argument("the launch of '" + launch.entry + "' may have up to " +
                                  std::to_string(max_arguments) + " arguments, got " +
                                  std::to_string(launch.arguments.size()));
    }
    kernel.add(launch, function_of(launch));
  }
  return kernel;
}

int Launcher::loaded() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(functions_.size());
}

std::shared_ptr<const LoadedFunction> Launcher::function_of(const Launch& launch) {
  const std::lock_guard lock(mutex_);  // two threads that ask for the same kernel load it once
  const Key key(launch.cubin, launch.entry, launch.smem_bytes);
  const auto found = functions_.find(key);
  std::shared_ptr<const LoadedFunction> function = found == functions_.end() ? nullptr : found->second;
  home_->in_context([&] {
    if (function == nullptr) {
      function = {new LoadedFunction(home_->driver, home_->device, launch),
                  [home = home_](const LoadedFunction* ended) { home->end(ended); }};
    }
    function->verify_parameters(home_->driver, launch);
  });
  functions_.emplace(key, function);
  return function;
}

}  // namespace gemm_tuner
