#include "tuning/nvml.hpp"

#include <dlfcn.h>

namespace gemm_tuner {
namespace {

// The little of NVML that is used here, from its reference manual.
constexpr int success = 0;
constexpr int clock_sm = 1;
constexpr int clock_memory = 2;
constexpr int temperature_gpu = 0;

template <class Signature>
Signature* symbol(void* handle, const char* name) {
  return reinterpret_cast<Signature*>(dlsym(handle, name));
}

}  // namespace

/// Started, and shut down when the last user is gone; the shared object itself stays open, as the driver's does.
struct Nvml::Library {
  explicit Library(void* handle)
      : shutdown(symbol<int()>(handle, "nvmlShutdown")),
        by_bus_id(symbol<int(const char*, void**)>(handle, "nvmlDeviceGetHandleByPciBusId_v2")),
        clock(symbol<int(void*, int, unsigned*)>(handle, "nvmlDeviceGetClockInfo")),
        temperature(symbol<int(void*, int, unsigned*)>(handle, "nvmlDeviceGetTemperature")),
        power(symbol<int(void*, unsigned*)>(handle, "nvmlDeviceGetPowerUsage")) {}
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (shutdown != nullptr) shutdown();
  }
  bool complete() const { return shutdown && by_bus_id && clock && temperature && power; }

  int (*shutdown)();
  int (*by_bus_id)(const char*, void**);
  int (*clock)(void*, int, unsigned*);
  int (*temperature)(void*, int, unsigned*);
  int (*power)(void*, unsigned*);
};

Nvml::Nvml(const std::string& path, const std::string& pci_bus_id) {
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return;
  auto* const start = symbol<int()>(handle, "nvmlInit_v2");
  if (start == nullptr || start() != success) return;
  const auto library = std::make_shared<const Library>(handle);
  if (library->complete() && library->by_bus_id(pci_bus_id.c_str(), &device_) == success) library_ = library;
}

std::optional<Clocks> Nvml::clocks() const {
  if (!library_) return std::nullopt;
  Clocks clocks;
  unsigned value = 0;
  if (library_->clock(device_, clock_sm, &value) == success) clocks.sm_mhz = static_cast<int>(value);
  if (library_->clock(device_, clock_memory, &value) == success) clocks.memory_mhz = static_cast<int>(value);
  if (library_->temperature(device_, temperature_gpu, &value) == success)
    clocks.temperature_c = static_cast<int>(value);
  if (library_->power(device_, &value) == success) clocks.power_w = value / 1e3;  // it tells milliwatts
  if (clocks == Clocks{}) return std::nullopt;
  return clocks;
}

}  // namespace gemm_tuner
