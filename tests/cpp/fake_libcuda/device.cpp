// The driver itself, its devices and their contexts.
#include <cstdio>
#include <cstring>

#include "fake.hpp"

namespace fake {

/// A GeForce RTX 3060 by its data sheet, unless told otherwise; -1: unknown to this driver.
int attribute(int which) {
  static const std::map<int, int> rtx_3060{
      {13, 1777000}, {16, 28},     {36, 7501000}, {37, 192},    {38, 3 << 20}, {39, 1536}, {75, 8},
      {76, 6},       {81, 102400}, {82, 65536},   {97, 101376}, {106, 16},     {133, 0},
  };
  const std::string key = "attribute." + std::to_string(which);
  if (const auto told = machine().told.find(key); told != machine().told.end()) {
    return told->second.empty() ? -1 : std::stoi(told->second);
  }
  const auto known = rtx_3060.find(which);
  return known == rtx_3060.end() ? -1 : known->second;
}

namespace {

int devices() { return told_or("devices", 1); }

}  // namespace
}  // namespace fake

using namespace fake;

EXPORT int cuDriverGetVersion(int* version) {
  if (const int result = played("cuDriverGetVersion", false); result != SUCCESS) return result;
  *version = told_or("driver_version", 13000);
  return SUCCESS;
}

EXPORT int cuInit(unsigned) {
  if (const int result = played("cuInit", false); result != SUCCESS) return result;
  if (devices() == 0) return NO_DEVICE;
  machine().initialised = true;
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
      {201, "CUDA_ERROR_INVALID_CONTEXT"},
      {400, "CUDA_ERROR_INVALID_HANDLE"},
      {500, "CUDA_ERROR_NOT_FOUND"},
      {600, "CUDA_ERROR_NOT_READY"},
      {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
      {719, "CUDA_ERROR_LAUNCH_FAILED"},
      {801, "CUDA_ERROR_NOT_SUPPORTED"},
      {802, "CUDA_ERROR_SYSTEM_NOT_READY"},
      {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
      {915, "CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION"},
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
  const std::string told = machine().told["name"];
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

EXPORT int cuDeviceGetPCIBusId(char* text, int length, int device) {
  PLAY(cuDeviceGetPCIBusId)
  if (device >= devices()) return INVALID_DEVICE;
  std::snprintf(text, static_cast<std::size_t>(length), "0000:%02X:00.0", device + 1);
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
  *context = contexts().empty() ? nullptr : reinterpret_cast<void*>(contexts().back());
  return SUCCESS;
}

EXPORT int cuCtxGetDevice(int* device) {
  PLAY(cuCtxGetDevice)
  if (contexts().empty()) return INVALID_CONTEXT;
  *device = static_cast<int>(contexts().back()) - 1;
  return SUCCESS;
}

EXPORT int cuCtxPushCurrent_v2(void* context) {
  PLAY(cuCtxPushCurrent_v2)
  contexts().push_back(reinterpret_cast<std::uintptr_t>(context));
  return SUCCESS;
}

EXPORT int cuCtxPopCurrent_v2(void** context) {
  PLAY(cuCtxPopCurrent_v2)
  if (contexts().empty()) return INVALID_CONTEXT;
  *context = reinterpret_cast<void*>(contexts().back());
  contexts().pop_back();
  return SUCCESS;
}

EXPORT int cuCtxSynchronize() {
  PLAY_IN_CONTEXT(cuCtxSynchronize)
  return waited();
}

EXPORT int cuDevicePrimaryCtxRetain(void** context, int device) {
  PLAY(cuDevicePrimaryCtxRetain)
  ++machine().retained[device];
  *context = reinterpret_cast<void*>(static_cast<std::uintptr_t>(device) + 1);
  return SUCCESS;
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
  PLAY(cuDevicePrimaryCtxRelease_v2)
  --machine().retained[device];
  return SUCCESS;
}
