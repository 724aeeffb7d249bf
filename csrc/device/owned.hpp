// What the driver gives is given back: handles that end with their owner, and a context that is current for a scope.
#pragma once

#include <utility>

#include "device/driver.hpp"
#include "device/query.hpp"

namespace gemm_tuner {

/// Something that the driver made. Giving it back may fail, in a context that a kernel broke, and nobody can help it.
template <class Handle>
class Owned {
 public:
  Owned() = default;
  Owned(Handle handle, const cuda::Symbol<Handle>& give_back) : handle_(handle), give_back_(give_back.address) {}
  Owned(Owned&& other) noexcept : handle_(other.handle_), give_back_(std::exchange(other.give_back_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(give_back_, other.give_back_);
    return *this;
  }
  ~Owned() {
    if (give_back_ != nullptr) give_back_(handle_);
  }
  Handle get() const { return handle_; }

 private:
  Handle handle_{};
  cuda::Result (*give_back_)(Handle) = nullptr;
};

/// Makes a context this thread's current one until the scope ends.
class Current {
 public:
  Current(const Driver& driver, cuda::Context context) : driver_(driver) {
    driver.call(driver.cuCtxPushCurrent, context);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
  ~Current() {
    cuda::Context popped = nullptr;
    driver_.cuCtxPopCurrent.address(&popped);
  }

 private:
  const Driver& driver_;
};

/// Calls `act` in the current context where there is one on this device, so that a partition or an MPS share of it
/// holds, else in the device's primary context.
template <class Act>
auto in_context(const Driver& driver, cuda::Device device, Act act) {
  if (current_context(driver, device) != nullptr) return act();
  cuda::Context primary = nullptr;
  driver.call(driver.cuDevicePrimaryCtxRetain, &primary, device);
  const Owned<cuda::Device> retained(device, driver.cuDevicePrimaryCtxRelease);
  const Current current(driver, primary);
  return act();
}

/// image: a cubin or PTX, ended by a zero.
inline Owned<cuda::Module> load_module(const Driver& driver, const std::string& image) {
  cuda::Module module = nullptr;
  driver.call(driver.cuModuleLoadData, &module, image.c_str());
  return {module, driver.cuModuleUnload};
}

inline Owned<cuda::Address> allocate_bytes(const Driver& driver, std::size_t bytes) {
  cuda::Address address = 0;
  driver.call(driver.cuMemAlloc, &address, bytes);
  return {address, driver.cuMemFree};
}

inline Owned<cuda::Event> create_event(const Driver& driver) {
  cuda::Event event = nullptr;
  driver.call(driver.cuEventCreate, &event, 0U);
  return {event, driver.cuEventDestroy};
}

}  // namespace gemm_tuner
