// What is done while a scope lasts, and undone however it ends.
#pragma once

#include <utility>

#include "device/driver.hpp"
#include "device/query.hpp"

namespace gemm_tuner {

/// Runs `undo` when the scope ends.
template <class Undo>
struct OnExit {
  Undo undo;
  explicit OnExit(Undo given) : undo(std::move(given)) {}
  OnExit(const OnExit&) = delete;
  OnExit& operator=(const OnExit&) = delete;
  ~OnExit() { undo(); }
};

/// Calls `act` in the current context where there is one on this device, so that a partition or an MPS share of it
/// holds, else in the device's primary context.
template <class Act>
auto in_context(const Driver& driver, cuda::Device device, Act act) {
  if (current_context(driver, device) != nullptr) return act();
  cuda::Context primary = nullptr;
  driver.call(driver.cuDevicePrimaryCtxRetain, &primary, device);
  const OnExit release([&] { driver.cuDevicePrimaryCtxRelease.address(device); });
  driver.call(driver.cuCtxPushCurrent, primary);
  const OnExit pop([&] { driver.cuCtxPopCurrent.address(&primary); });
  return act();
}

}  // namespace gemm_tuner
