// A double of torch's CUDA device, as far as autograd asks for one: it guards nothing, has one stream, and no context.
// With it, gradients of fake tensors work in the CPU build of torch, and in the CUDA build where there is no GPU.

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstring>

namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::Stream;
using c10::impl::DeviceGuardImplInterface;

struct VirtualGuard final : c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {
  Device exchangeDevice(Device /*unused*/) const override { return Device(DeviceType::CUDA, 0); }
  Device getDevice() const override { return Device(DeviceType::CUDA, 0); }
  Stream getStream(Device device) const noexcept override { return Stream(Stream::DEFAULT, device); }
  Stream getNewStream(Device device, int /*priority*/) const override { return Stream(Stream::DEFAULT, device); }
  Stream exchangeStream(Stream stream) const noexcept override { return stream; }
};

struct VirtualHooks final : at::CUDAHooksInterface {
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex /*unused*/) const override { return false; }
  void init() const override {}
  DeviceIndex deviceCount() const override { return 1; }
  DeviceIndex current_device() const override { return 0; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(DeviceIndex /*unused*/) const override {}
  DeviceIndex exchangeDevice(DeviceIndex /*unused*/) const override { return 0; }
  DeviceIndex maybeExchangeDevice(DeviceIndex /*unused*/) const override { return 0; }
  int getNumGPUs() const override { return 1; }
  long versionCuDNN() const override { return 0; }
  long versionRuntimeCuDNN() const override { return 0; }
};

const VirtualGuard virtual_guard;
const VirtualHooks virtual_hooks;

struct Behaviour {
  const DeviceGuardImplInterface* guard;
  const void* hooks;  // the virtual table: torch keeps one hooks object for ever, and neither class has members
};

void* hooks_object() { return const_cast<at::CUDAHooksInterface*>(&at::detail::getCUDAHooks()); }

Behaviour exchange(Behaviour next) {
  Behaviour before;
  before.guard = c10::impl::device_guard_impl_registry[static_cast<size_t>(DeviceType::CUDA)].exchange(next.guard);
  std::memcpy(&before.hooks, hooks_object(), sizeof before.hooks);
  std::memcpy(hooks_object(), &next.hooks, sizeof next.hooks);
  return before;
}

}  // namespace

extern "C" Behaviour use_virtual_device() {
  const void* hooks;
  std::memcpy(&hooks, static_cast<const void*>(&virtual_hooks), sizeof hooks);
  return exchange({&virtual_guard, hooks});
}

extern "C" void use_device(Behaviour before) { exchange(before); }
