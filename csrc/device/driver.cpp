#include "device/driver.hpp"

#include <dlfcn.h>

namespace gemm_tuner {
namespace {

/// What to do about a driver that will not start, by the reason that it gives.
std::string remedy(cuda::Result code) {
  switch (code) {
    case cuda::stub_library:
      return "This is the toolkit's stub, not a driver: take its folder off the library path.";
    case cuda::system_not_ready:
      return "A system service that this GPU needs is not running yet, nvidia-fabricmanager on NVSwitch machines.";
    case cuda::system_driver_mismatch:
      return "The kernel module and libcuda have different versions, as after an update: restart the machine.";
    case cuda::compat_not_supported:
      return "The CUDA forward-compatibility library does not serve this GPU: take it off the library path.";
    case cuda::unknown:
      return "Often the nvidia kernel module is not loaded or /dev/nvidia* cannot be opened: see what nvidia-smi says.";
    default:
      return "See what nvidia-smi says.";
  }
}

}  // namespace

namespace cuda {

Library::Library(const std::string& path) : path_(path), handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ == nullptr) {
    const char* const reason = dlerror();
    throw NoDeviceError("No NVIDIA driver: " + path + " could not be opened (" +
                        (reason != nullptr ? reason : "the loader gives no reason") +
                        "). Install the NVIDIA driver, or name a device of the catalogue.");
  }
  const Symbol<int*> driver_version = optional("cuDriverGetVersion");
  if (!driver_version) {
    throw DriverError(
        path + " is no CUDA driver: it exports no cuDriverGetVersion. Look for another library of that name.", success,
        "");
  }
  if (const Result code = driver_version.address(&version_); code != success) {
    throw DriverError("cuDriverGetVersion failed with error " + std::to_string(code) + ". " + remedy(code), code, "");
  }
}

Library::Entry Library::optional(const char* name) const { return {name, dlsym(handle_, name)}; }

Library::Entry Library::required(const char* name, int since) const {
  const Entry entry = optional(name);
  if (entry.address != nullptr) return entry;
  throw DriverError("The NVIDIA driver is too old: " + path_ + " is a driver for CUDA " + version_text(version_) +
                        " and lacks " + name + ", which came with CUDA " + version_text(since) +
                        ". Install a newer driver.",
                    success, "");
}

}  // namespace cuda

std::string version_text(int cuda_version) {
  return std::to_string(cuda_version / 1000) + "." + std::to_string(cuda_version % 1000 / 10);
}

Driver::Driver(const std::string& path) : library(path) {
  const cuda::Result code = cuInit.address(0);
  if (code == cuda::no_device) {
    throw NoDeviceError(
        "The NVIDIA driver sees no GPU. CUDA_VISIBLE_DEVICES may hide them; else name a device of the catalogue.");
  }
  if (code != cuda::success) {
    throw DriverError("The NVIDIA driver does not start: cuInit failed with " + error_name(code) + ". " + remedy(code),
                      code, error_name(code));
  }
}

std::string Driver::error_name(cuda::Result code) const {
  const char* name = nullptr;
  if (cuGetErrorName.address(code, &name) == cuda::success && name != nullptr) return name;
  return "error " + std::to_string(code);
}

void Driver::fail(const char* function, cuda::Result code) const {
  const char* meaning = nullptr;
  std::string sentence = std::string(function) + " failed with " + error_name(code);
  if (cuGetErrorString.address(code, &meaning) == cuda::success && meaning != nullptr) {
    sentence += " (" + std::string(meaning) + ")";
  }
  throw DriverError(sentence, code, error_name(code));
}

}  // namespace gemm_tuner
