// Our declarations of the driver's interface (device/driver.hpp) against NVIDIA's cuda.h. Compiling is passing.
// clang-format off: cuda.h renames functions by macro, so ours comes first
#include "device/driver.hpp"

#include <cuda.h>
// clang-format on
#include <gtest/gtest.h>

#include <cstddef>
#include <type_traits>

#undef cuDeviceGetUuid
#undef cuCtxPushCurrent
#undef cuCtxPopCurrent
#undef cuDevicePrimaryCtxRelease
#undef cuMemAlloc
#undef cuMemFree
#undef cuMemsetD32
#undef cuMemcpyDtoH
#undef cuMemGetInfo
#undef cuMemcpyHtoDAsync
#undef cuMemcpyDtoDAsync
#undef cuMemcpyDtoHAsync
#undef cuStreamDestroy
#undef cuEventDestroy
#undef cuEventElapsedTime

namespace gemm_tuner {
namespace {

constexpr bool same(cuda::Attribute ours, CUdevice_attribute theirs) {
  return static_cast<int>(ours) == static_cast<int>(theirs);
}

using enum cuda::Attribute;
static_assert(same(clock_khz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE));
static_assert(same(multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
static_assert(same(memory_clock_khz, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE));
static_assert(same(memory_bus_bits, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH));
static_assert(same(l2_bytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE));
static_assert(same(threads_per_multiprocessor, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR));
static_assert(same(compute_capability_major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
static_assert(same(compute_capability_minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
static_assert(same(smem_per_multiprocessor_bytes, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR));
static_assert(same(registers_per_multiprocessor, CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR));
static_assert(same(smem_per_block_optin_bytes, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
static_assert(same(blocks_per_multiprocessor, CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR));

#if CUDA_VERSION >= 13000
static_assert(same(mps_enabled, CU_DEVICE_ATTRIBUTE_MPS_ENABLED));
#endif

static_assert(cuda::success == CUDA_SUCCESS && cuda::invalid_value == CUDA_ERROR_INVALID_VALUE);
static_assert(cuda::out_of_memory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(cuda::stub_library == CUDA_ERROR_STUB_LIBRARY && cuda::no_device == CUDA_ERROR_NO_DEVICE);
static_assert(cuda::invalid_context == CUDA_ERROR_INVALID_CONTEXT && cuda::unknown == CUDA_ERROR_UNKNOWN);
static_assert(cuda::unsupported_exec_affinity == CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY);
static_assert(cuda::not_permitted == CUDA_ERROR_NOT_PERMITTED && cuda::not_supported == CUDA_ERROR_NOT_SUPPORTED);
static_assert(cuda::system_not_ready == CUDA_ERROR_SYSTEM_NOT_READY);
static_assert(cuda::system_driver_mismatch == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
static_assert(cuda::compat_not_supported == CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE);

static_assert(std::is_same_v<CUdevice, cuda::Device> && std::is_same_v<CUdeviceptr, cuda::Address>);
static_assert(sizeof(CUuuid) == sizeof(cuda::Uuid));
static_assert(sizeof(CUexecAffinityParam) == sizeof(cuda::ExecAffinity));
static_assert(offsetof(CUexecAffinityParam, param) == offsetof(cuda::ExecAffinity, sm_count));
static_assert(cuda::exec_affinity_sm_count == CU_EXEC_AFFINITY_TYPE_SM_COUNT);

#if CUDA_VERSION >= 12040
static_assert(sizeof(CUdevResource) <= sizeof(cuda::DevResource));
static_assert(offsetof(CUdevResource, sm) == offsetof(cuda::DevResource, sm_count));
static_assert(cuda::dev_resource_sm == CU_DEV_RESOURCE_TYPE_SM);
#endif

/// Same number of parameters of the same sizes and kinds (integer or pointer): what a call by address relies on.
template <class... Ours, class... Theirs>
constexpr bool same_call(const Driver::Symbol<Ours...>*, CUresult (*)(Theirs...)) {
  if constexpr (sizeof...(Ours) != sizeof...(Theirs)) {
    return false;
  } else {
    return ((sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>) && ...);
  }
}

#define SAME_CALL(member, exported) \
  static_assert(                    \
      same_call(static_cast<const decltype(Driver::member)*>(nullptr), static_cast<decltype(&::exported)>(nullptr)))
SAME_CALL(cuGetErrorName, cuGetErrorName);
SAME_CALL(cuGetErrorString, cuGetErrorString);
SAME_CALL(cuInit, cuInit);
SAME_CALL(cuDeviceGetCount, cuDeviceGetCount);
SAME_CALL(cuDeviceGet, cuDeviceGet);
SAME_CALL(cuDeviceGetName, cuDeviceGetName);
SAME_CALL(cuDeviceGetAttribute, cuDeviceGetAttribute);
SAME_CALL(cuDeviceGetUuid, cuDeviceGetUuid_v2);
SAME_CALL(cuCtxGetCurrent, cuCtxGetCurrent);
SAME_CALL(cuCtxGetDevice, cuCtxGetDevice);
SAME_CALL(cuCtxPushCurrent, cuCtxPushCurrent_v2);
SAME_CALL(cuCtxPopCurrent, cuCtxPopCurrent_v2);
SAME_CALL(cuCtxSynchronize, cuCtxSynchronize);
SAME_CALL(cuCtxGetExecAffinity, cuCtxGetExecAffinity);
SAME_CALL(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain);
SAME_CALL(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2);
SAME_CALL(cuModuleLoadData, cuModuleLoadData);
SAME_CALL(cuModuleUnload, cuModuleUnload);
SAME_CALL(cuModuleGetFunction, cuModuleGetFunction);
SAME_CALL(cuMemAlloc, cuMemAlloc_v2);
SAME_CALL(cuMemFree, cuMemFree_v2);
SAME_CALL(cuMemsetD32, cuMemsetD32_v2);
SAME_CALL(cuMemcpyDtoH, cuMemcpyDtoH_v2);
SAME_CALL(cuLaunchKernel, cuLaunchKernel);
SAME_CALL(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId);
SAME_CALL(cuMemGetInfo, cuMemGetInfo_v2);
SAME_CALL(cuMemsetD32Async, cuMemsetD32Async);
SAME_CALL(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2);
SAME_CALL(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2);
SAME_CALL(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2);
SAME_CALL(cuStreamCreate, cuStreamCreate);
SAME_CALL(cuStreamDestroy, cuStreamDestroy_v2);
SAME_CALL(cuStreamSynchronize, cuStreamSynchronize);
SAME_CALL(cuEventCreate, cuEventCreate);
SAME_CALL(cuEventDestroy, cuEventDestroy_v2);
SAME_CALL(cuEventRecord, cuEventRecord);
SAME_CALL(cuEventSynchronize, cuEventSynchronize);
#if CUDA_VERSION >= 13000  // declares only the second version, of the same parameters; libcuda exports both
SAME_CALL(cuEventElapsedTime, cuEventElapsedTime_v2);
#else
SAME_CALL(cuEventElapsedTime, cuEventElapsedTime);
#endif
SAME_CALL(cuFuncSetAttribute, cuFuncSetAttribute);
#if CUDA_VERSION >= 12000
SAME_CALL(cuLibraryLoadData, cuLibraryLoadData);
SAME_CALL(cuLibraryUnload, cuLibraryUnload);
SAME_CALL(cuLibraryGetKernel, cuLibraryGetKernel);
SAME_CALL(cuKernelGetFunction, cuKernelGetFunction);
SAME_CALL(cuKernelSetAttribute, cuKernelSetAttribute);
#endif
static_assert(cuda::stream_non_blocking == CU_STREAM_NON_BLOCKING);
static_assert(cuda::function_max_dynamic_smem_bytes == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
#if CUDA_VERSION >= 12050
SAME_CALL(cuCtxGetDevResource, cuCtxGetDevResource);
SAME_CALL(cuFuncGetParamInfo, cuFuncGetParamInfo);
SAME_CALL(cuDeviceGetDevResource, cuDeviceGetDevResource);
SAME_CALL(cuDevSmResourceSplitByCount, cuDevSmResourceSplitByCount);
SAME_CALL(cuDevResourceGenerateDesc, cuDevResourceGenerateDesc);
SAME_CALL(cuGreenCtxCreate, cuGreenCtxCreate);
SAME_CALL(cuGreenCtxDestroy, cuGreenCtxDestroy);
SAME_CALL(cuGreenCtxRecordEvent, cuGreenCtxRecordEvent);
SAME_CALL(cuGreenCtxStreamCreate, cuGreenCtxStreamCreate);
static_assert(cuda::green_context_default_stream == CU_GREEN_CTX_DEFAULT_STREAM);
#endif

TEST(Abi, OurDeclarationsMatchCudaH) { SUCCEED() << "checked while compiling"; }

}  // namespace
}  // namespace gemm_tuner
