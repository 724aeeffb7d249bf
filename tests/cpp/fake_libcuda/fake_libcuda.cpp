// A stand-in for libcuda.so.1: a test double, no driver. It has no GPU and runs no code; it answers as a driver would
// for the device that it is told to be, fails the calls that it is told to fail, and plays our probes (probes.hpp) on a
// clock of its own, which only launches advance.
//
// It is told by text, "key=value" separated by ';', given to fake_configure() or in the variable FAKE_LIBCUDA:
//   devices=1                  how many there are
//   driver_version=13000
//   name=NVIDIA GeForce RTX 3060
//   attribute.16=28            any CUdevice_attribute by number; "attribute.16=" makes it unknown to the driver
//   context=none               none | own (of device 0) | other (of device 1)
//   affinity_sms=, resource_sms=   what the current context is limited to; unset: all SMs
//   memory_mb=12288            of the device, all of it free
//   fault.cuInit=999           the CUresult that this call gives back
// FAKE_LIBCUDA is read once, at the first call; fake_configure() starts from nothing.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "probes.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum Result {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
};

struct Fake {
  std::map<std::string, std::string> told;
  std::map<std::string, int> calls;
  std::vector<std::uintptr_t> contexts;                      // the stack of this (only) thread; device + 1
  std::map<int, int> retained;                               // primary contexts, by device
  std::map<void*, std::string> modules;                      // their PTX
  std::map<void*, std::pair<void*, std::string>> functions;  // module and entry
  std::set<void*> buffers;
  std::map<void*, double> events;  // us at which they were recorded
  double now_us = 0;
  bool initialised = false;
};

void configure(Fake& fake, const std::string& text) {
  fake = {};
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find(';', start), text.size());
    const std::string item = text.substr(start, end - start);
    if (const std::size_t equals = item.find('='); equals != std::string::npos) {
      fake.told[item.substr(0, equals)] = item.substr(equals + 1);
    }
    start = end + 1;
  }
  const std::string context = fake.told["context"];
  if (context == "own") fake.contexts = {1};
  if (context == "other") fake.contexts = {2};
}

Fake& fake() {
  static Fake state;
  static const bool configured = [] {
    const char* text = std::getenv("FAKE_LIBCUDA");
    configure(state, text != nullptr ? text : "");
    return true;
  }();
  static_cast<void>(configured);
  return state;
}

int told_or(const std::string& key, int usual) {
  const auto found = fake().told.find(key);
  return found == fake().told.end() || found->second.empty() ? usual : std::stoi(found->second);
}

/// Counts the call, and gives the fault that it was told to have; calls before cuInit fail as a driver's do.
int played(const char* function, bool needs_init = true) {
  ++fake().calls[function];
  if (const int fault = told_or(std::string("fault.") + function, SUCCESS); fault != SUCCESS) return fault;
  return needs_init && !fake().initialised ? NOT_INITIALIZED : SUCCESS;
}

double told_number(const std::string& key, double usual) {
  const auto found = fake().told.find(key);
  return found == fake().told.end() || found->second.empty() ? usual : std::stod(found->second);
}

int devices() { return told_or("devices", 1); }

/// A GeForce RTX 3060 by its data sheet, unless told otherwise; -1: unknown to this driver.
int attribute(int which) {
  static const std::map<int, int> rtx_3060{
      {13, 1777000}, {16, 28},     {36, 7501000}, {37, 192},    {38, 3 << 20}, {39, 1536}, {75, 8},
      {76, 6},       {81, 102400}, {82, 65536},   {97, 101376}, {106, 16},     {133, 0},
  };
  const std::string key = "attribute." + std::to_string(which);
  if (const auto told = fake().told.find(key); told != fake().told.end()) {
    return told->second.empty() ? -1 : std::stoi(told->second);
  }
  const auto known = rtx_3060.find(which);
  return known == rtx_3060.end() ? -1 : known->second;
}

constexpr int sm_count = 16;  // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
constexpr int l2_bytes = 38;  // CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE

}  // namespace

#define PLAY(function)                                           \
  if (const int result = played(#function); result != SUCCESS) { \
    return result;                                               \
  }

// What the tests ask of the double itself.
EXPORT void fake_configure(const char* text) { configure(fake(), text); }
EXPORT int fake_calls(const char* function) { return fake().calls[function]; }
/// Contexts retained or pushed, modules and buffers that were not given back.
EXPORT int fake_leaks() {
  int leaks =
      static_cast<int>(fake().modules.size() + fake().buffers.size() + fake().events.size() + fake().contexts.size());
  for (const auto& [device, count] : fake().retained) leaks += count;
  return leaks - (fake().told["context"].empty() || fake().told["context"] == "none" ? 0 : 1);
}

EXPORT int cuDriverGetVersion(int* version) {
  if (const int result = played("cuDriverGetVersion", false); result != SUCCESS) return result;
  *version = told_or("driver_version", 13000);
  return SUCCESS;
}

EXPORT int cuInit(unsigned) {
  if (const int result = played("cuInit", false); result != SUCCESS) return result;
  if (devices() == 0) return NO_DEVICE;
  fake().initialised = true;
  return SUCCESS;
}

EXPORT int cuGetErrorName(int code, const char** name) {
  static const std::map<int, const char*> names{
      {1, "CUDA_ERROR_INVALID_VALUE"},
      {2, "CUDA_ERROR_OUT_OF_MEMORY"},
      {3, "CUDA_ERROR_NOT_INITIALIZED"},
      {34, "CUDA_ERROR_STUB_LIBRARY"},
      {100, "CUDA_ERROR_NO_DEVICE"},
      {101, "CUDA_ERROR_INVALID_DEVICE"},
      {200, "CUDA_ERROR_INVALID_IMAGE"},
      {500, "CUDA_ERROR_NOT_FOUND"},
      {719, "CUDA_ERROR_LAUNCH_FAILED"},
      {802, "CUDA_ERROR_SYSTEM_NOT_READY"},
      {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
      {999, "CUDA_ERROR_UNKNOWN"},
  };
  const auto known = names.find(code);
  *name = known == names.end() ? nullptr : known->second;
  return known == names.end() ? INVALID_VALUE : SUCCESS;
}

EXPORT int cuGetErrorString(int code, const char** meaning) {
  const char* name = nullptr;
  *meaning = cuGetErrorName(code, &name) == SUCCESS ? "the double's description" : nullptr;
  return *meaning == nullptr ? INVALID_VALUE : SUCCESS;
}

EXPORT int cuDeviceGetCount(int* count) {
  PLAY(cuDeviceGetCount)
  *count = devices();
  return SUCCESS;
}

EXPORT int cuDeviceGet(int* device, int ordinal) {
  PLAY(cuDeviceGet)
  if (ordinal < 0 || ordinal >= devices()) return INVALID_DEVICE;
  *device = ordinal;
  return SUCCESS;
}

EXPORT int cuDeviceGetName(char* name, int length, int device) {
  PLAY(cuDeviceGetName)
  if (device >= devices()) return INVALID_DEVICE;
  const std::string told = fake().told["name"];
  const std::string given = told.empty() ? "NVIDIA GeForce RTX 3060" : told;
  std::strncpy(name, given.c_str(), static_cast<std::size_t>(length));
  return SUCCESS;
}

EXPORT int cuDeviceGetAttribute(int* value, int which, int device) {
  PLAY(cuDeviceGetAttribute)
  if (device >= devices()) return INVALID_DEVICE;
  const int known = attribute(which);
  if (known < 0) return INVALID_VALUE;
  *value = known;
  return SUCCESS;
}

#ifndef FAKE_WITHOUT_UUID
/// 000102...0e and the device's number.
EXPORT int cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
  PLAY(cuDeviceGetUuid_v2)
  for (unsigned char i = 0; i < 15; ++i) uuid[i] = i;
  uuid[15] = static_cast<unsigned char>(device);
  return SUCCESS;
}
#endif

EXPORT int cuCtxGetCurrent(void** context) {
  PLAY(cuCtxGetCurrent)
  *context = fake().contexts.empty() ? nullptr : reinterpret_cast<void*>(fake().contexts.back());
  return SUCCESS;
}

EXPORT int cuCtxGetDevice(int* device) {
  PLAY(cuCtxGetDevice)
  if (fake().contexts.empty()) return INVALID_CONTEXT;
  *device = static_cast<int>(fake().contexts.back()) - 1;
  return SUCCESS;
}

EXPORT int cuCtxPushCurrent_v2(void* context) {
  PLAY(cuCtxPushCurrent_v2)
  fake().contexts.push_back(reinterpret_cast<std::uintptr_t>(context));
  return SUCCESS;
}

EXPORT int cuCtxPopCurrent_v2(void** context) {
  PLAY(cuCtxPopCurrent_v2)
  if (fake().contexts.empty()) return INVALID_CONTEXT;
  *context = reinterpret_cast<void*>(fake().contexts.back());
  fake().contexts.pop_back();
  return SUCCESS;
}

EXPORT int cuCtxSynchronize() {
  PLAY(cuCtxSynchronize)
  return fake().contexts.empty() ? INVALID_CONTEXT : SUCCESS;
}

#ifndef FAKE_WITHOUT_OPTIONAL
EXPORT int cuCtxGetExecAffinity(void* affinity, int type) {
  PLAY(cuCtxGetExecAffinity)
  const int answer[2] = {type, told_or("affinity_sms", attribute(sm_count))};
  std::memcpy(affinity, answer, sizeof answer);
  return SUCCESS;
}

EXPORT int cuCtxGetDevResource(void*, unsigned char* resource, int type) {
  PLAY(cuCtxGetDevResource)
  const int sms = told_or("resource_sms", attribute(sm_count));
  std::memset(resource, 0, 144);  // sizeof(CUdevResource) in CUDA 12.4 to 13.0
  std::memcpy(resource, &type, sizeof type);
  std::memcpy(resource + 96, &sms, sizeof sms);
  return SUCCESS;
}
#endif

EXPORT int cuDevicePrimaryCtxRetain(void** context, int device) {
  PLAY(cuDevicePrimaryCtxRetain)
  ++fake().retained[device];
  *context = reinterpret_cast<void*>(static_cast<std::uintptr_t>(device) + 1);
  return SUCCESS;
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
  PLAY(cuDevicePrimaryCtxRelease_v2)
  --fake().retained[device];
  return SUCCESS;
}

EXPORT int cuModuleLoadData(void** module, const char* image) {
  PLAY(cuModuleLoadData)
  if (fake().contexts.empty()) return INVALID_CONTEXT;
  const std::string ptx = image;
  if (ptx.find(".version") == std::string::npos || ptx.find(".target") == std::string::npos) return INVALID_IMAGE;
  *module = new char;
  fake().modules[*module] = ptx;
  return SUCCESS;
}

EXPORT int cuModuleUnload(void* module) {
  PLAY(cuModuleUnload)
  fake().modules.erase(module);
  delete static_cast<char*>(module);
  return SUCCESS;
}

EXPORT int cuModuleGetFunction(void** function, void* module, const char* name) {
  PLAY(cuModuleGetFunction)
  if (!fake().modules.contains(module)) return INVALID_HANDLE;
  if (fake().modules[module].find(".entry " + std::string(name) + "(") == std::string::npos) return NOT_FOUND;
  for (const auto& [known, what] : fake().functions) {
    if (what == std::pair{module, std::string(name)}) {
      *function = known;
      return SUCCESS;
    }
  }
  *function = reinterpret_cast<void*>(fake().functions.size() + 1);
  fake().functions[*function] = {module, name};
  return SUCCESS;
}

EXPORT int cuMemAlloc_v2(unsigned long long* address, std::size_t bytes) {
  PLAY(cuMemAlloc_v2)
  void* const buffer = std::calloc(bytes, 1);
  fake().buffers.insert(buffer);
  *address = reinterpret_cast<std::uintptr_t>(buffer);
  return SUCCESS;
}

EXPORT int cuMemFree_v2(unsigned long long address) {
  PLAY(cuMemFree_v2)
  void* const buffer = reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
  if (fake().buffers.erase(buffer) == 0) return INVALID_VALUE;
  std::free(buffer);
  return SUCCESS;
}

EXPORT int cuMemsetD32_v2(unsigned long long address, unsigned value, std::size_t count) {
  PLAY(cuMemsetD32_v2)
  auto* const words = reinterpret_cast<unsigned*>(static_cast<std::uintptr_t>(address));
  if (value == 0 && count > (1U << 20)) return SUCCESS;  // so much is fresh: zeros, and not to be touched
  for (std::size_t i = 0; i < count; ++i) words[i] = value;
  return SUCCESS;
}

EXPORT int cuMemcpyDtoH_v2(void* target, unsigned long long address, std::size_t bytes) {
  PLAY(cuMemcpyDtoH_v2)
  std::memcpy(target, reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)), bytes);
  return SUCCESS;
}

EXPORT int cuMemGetInfo_v2(std::size_t* free_bytes, std::size_t* total_bytes) {
  PLAY(cuMemGetInfo_v2)
  *free_bytes = *total_bytes = static_cast<std::size_t>(told_or("memory_mb", 12288)) << 20;
  return SUCCESS;
}

EXPORT int cuLaunchKernel(void* function, unsigned grid_x, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                          void*, void** arguments, void**) {
  PLAY(cuLaunchKernel)
  const auto found = fake().functions.find(function);
  if (found == fake().functions.end() || !fake().modules.contains(found->second.first)) return INVALID_HANDLE;
  const std::optional<double> us = probes::play_probe({.entry = found->second.second,
                                                       .grid = grid_x,
                                                       .arguments = arguments,
                                                       .now_us = fake().now_us,
                                                       .sms = attribute(sm_count),
                                                       .l2_bytes = attribute(l2_bytes),
                                                       .told = told_number});
  fake().now_us += us.value_or(0);
  return us ? SUCCESS : INVALID_HANDLE;
}

EXPORT int cuEventCreate(void** event, unsigned) {
  PLAY(cuEventCreate)
  *event = new char;
  fake().events[*event] = 0;
  return SUCCESS;
}

EXPORT int cuEventDestroy_v2(void* event) {
  PLAY(cuEventDestroy_v2)
  fake().events.erase(event);
  delete static_cast<char*>(event);
  return SUCCESS;
}

EXPORT int cuEventRecord(void* event, void*) {
  PLAY(cuEventRecord)
  fake().events[event] = fake().now_us;
  return SUCCESS;
}

EXPORT int cuEventSynchronize(void*) {
  PLAY(cuEventSynchronize)
  return SUCCESS;
}

EXPORT int cuEventElapsedTime(float* ms, void* start, void* stop) {
  PLAY(cuEventElapsedTime)
  *ms = static_cast<float>((fake().events[stop] - fake().events[start]) * 1e-3);
  return SUCCESS;
}
