// What drivers have had since CUDA 11.4 and 12.4: limits of a context, partitions of a device, parameters of a kernel.
#ifndef FAKE_WITHOUT_OPTIONAL

#include <algorithm>
#include <cstring>

#include "fake.hpp"

using namespace fake;

namespace {

constexpr std::size_t dev_resource_bytes = 144;  // sizeof(CUdevResource) in CUDA 12.4 to 13.0
constexpr std::size_t dev_resource_sms_at = 96;

void write_sm_resource(unsigned char* resource, int sms) {
  constexpr int of_sms = 1;
  std::memset(resource, 0, dev_resource_bytes);
  std::memcpy(resource, &of_sms, sizeof of_sms);
  std::memcpy(resource + dev_resource_sms_at, &sms, sizeof sms);
}

int sms_of(const unsigned char* resource) {
  int sms = 0;
  std::memcpy(&sms, resource + dev_resource_sms_at, sizeof sms);
  return sms;
}

}  // namespace

EXPORT int cuCtxGetExecAffinity(void* affinity, int type) {
  PLAY(cuCtxGetExecAffinity)
  const int answer[2] = {type, told_or("affinity_sms", attribute(multiprocessors))};
  std::memcpy(affinity, answer, sizeof answer);
  return SUCCESS;
}

EXPORT int cuCtxGetDevResource(void*, unsigned char* resource, int) {
  PLAY(cuCtxGetDevResource)
  write_sm_resource(resource, told_or("resource_sms", attribute(multiprocessors)));
  return SUCCESS;
}

EXPORT int cuDeviceGetDevResource(int, unsigned char* resource, int) {
  PLAY(cuDeviceGetDevResource)
  write_sm_resource(resource, attribute(multiprocessors));
  return SUCCESS;
}

/// One group only: what a caller gets who asks for one.
EXPORT int cuDevSmResourceSplitByCount(unsigned char* group, unsigned* groups, const unsigned char* whole,
                                       unsigned char* rest, unsigned, unsigned least) {
  PLAY(cuDevSmResourceSplitByCount)
  const int granularity = told_or("sm_granularity", 2);
  const int sms = (static_cast<int>(least) + granularity - 1) / granularity * granularity;
  if (sms > sms_of(whole)) return INVALID_RESOURCE_CONFIGURATION;
  *groups = 1;
  write_sm_resource(group, sms);
  if (rest != nullptr) write_sm_resource(rest, sms_of(whole) - sms);
  return SUCCESS;
}

/// The descriptor of the double is the number of SMs.
EXPORT int cuDevResourceGenerateDesc(void** descriptor, const unsigned char* resource, unsigned) {
  PLAY(cuDevResourceGenerateDesc)
  *descriptor = reinterpret_cast<void*>(static_cast<std::uintptr_t>(sms_of(resource)));
  return SUCCESS;
}

EXPORT int cuGreenCtxCreate(GreenContext** context, void* descriptor, int, unsigned flags) {
  PLAY(cuGreenCtxCreate)
  if (flags != 1) return INVALID_VALUE;  // CU_GREEN_CTX_DEFAULT_STREAM is required
  *context = new GreenContext{static_cast<int>(reinterpret_cast<std::uintptr_t>(descriptor))};
  machine().green_contexts.insert(*context);
  return SUCCESS;
}

EXPORT int cuGreenCtxDestroy(GreenContext* context) {
  PLAY(cuGreenCtxDestroy)
  if (machine().green_contexts.erase(context) == 0) return INVALID_HANDLE;
  delete context;
  return machine().dead;
}

EXPORT int cuGreenCtxStreamCreate(Stream** stream, GreenContext* green, unsigned, int) {
  PLAY(cuGreenCtxStreamCreate)
  *stream = new Stream{green};
  machine().streams.insert(*stream);
  return SUCCESS;
}

EXPORT int cuGreenCtxRecordEvent(const GreenContext*, Event* event) {
  PLAY_IN_CONTEXT(cuGreenCtxRecordEvent)
  event->at_us = std::max(machine().gpu_us, machine().host_us);
  return SUCCESS;
}

EXPORT int cuFuncGetParamInfo(const Function* function, std::size_t index, std::size_t* offset, std::size_t* bytes) {
  PLAY_IN_CONTEXT(cuFuncGetParamInfo)
  if (index >= function->parameters.size()) return INVALID_VALUE;
  *offset = function->parameters[index].offset;
  *bytes = function->parameters[index].bytes;
  return SUCCESS;
}

#endif
