// The little of NVML that is asked here: it shares the virtual clock with the driver, so it lives in the same library.
#include <cstdlib>
#include <cstring>

#include "fake.hpp"

using namespace fake;

namespace {

constexpr int nvml_not_found = 6;
constexpr int nvml_invalid_argument = 2;

}  // namespace

#define PLAY_NVML(function)                                                   \
  if (const int result = fake::played(#function, false); result != SUCCESS) { \
    return result;                                                            \
  }

EXPORT int nvmlInit_v2() {
  PLAY_NVML(nvmlInit_v2)
  return SUCCESS;
}

EXPORT int nvmlShutdown() {
  PLAY_NVML(nvmlShutdown)
  return SUCCESS;
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, void** device) {
  PLAY_NVML(nvmlDeviceGetHandleByPciBusId_v2)
  if (std::strncmp(bus_id, "0000:", 5) != 0) return nvml_not_found;
  *device = reinterpret_cast<void*>(std::strtoul(bus_id + 5, nullptr, 16));
  return SUCCESS;
}

EXPORT int nvmlDeviceGetClockInfo(void*, int which, unsigned* mhz) {
  PLAY_NVML(nvmlDeviceGetClockInfo)
  constexpr int sm = 1;
  constexpr int memory = 2;
  if (which != sm && which != memory) return nvml_invalid_argument;
  const double full_mhz = attribute(which == sm ? clock_khz : memory_clock_khz) / 1e3;
  *mhz = static_cast<unsigned>(which == sm ? full_mhz * clock_fraction() : full_mhz);
  return SUCCESS;
}

/// 40 degrees, and 1 more for each 100 ms that kernels have run, up to 83.
EXPORT int nvmlDeviceGetTemperature(void*, int, unsigned* celsius) {
  PLAY_NVML(nvmlDeviceGetTemperature)
  const double risen = machine().busy_us / 1e5;
  *celsius = static_cast<unsigned>(40 + (risen < 43 ? risen : 43));
  return SUCCESS;
}

EXPORT int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) {
  PLAY_NVML(nvmlDeviceGetPowerUsage)
  *milliwatts = machine().busy_us > 0 ? 170000 : 15000;
  return SUCCESS;
}
