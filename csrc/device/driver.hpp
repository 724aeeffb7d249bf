// libcuda.so.1, opened at run time: one wheel serves machines with and without a driver.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace gemm_tuner {

/// No GPU to speak of: no driver library, no device, or no device of that ordinal.
struct NoDeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The driver is there and refused: `code` is its CUresult, `code_name` what it calls it.
struct DriverError : std::runtime_error {
  DriverError(const std::string& sentence, int code_given, std::string name)
      : std::runtime_error(sentence), code(code_given), code_name(std::move(name)) {}
  int code;  // 0 where no call was made
  std::string code_name;
};

// The little of the driver's binary interface that is used here, declared anew so that no toolkit is needed to build.
// tests/cpp/test_abi.cpp holds it against cuda.h where there is one.
namespace cuda {

using Result = int;
using Device = int;
using Context = struct ContextTag*;
using Module = struct ModuleTag*;
using Function = struct FunctionTag*;
using KernelLibrary = struct KernelLibraryTag*;
using LibraryKernel = struct LibraryKernelTag*;
using Stream = struct StreamTag*;
using Event = struct EventTag*;
using GreenContext = struct GreenContextTag*;
using DevResourceDesc = struct DevResourceDescTag*;
using Address = unsigned long long;

inline constexpr Result success = 0;
inline constexpr Result invalid_value = 1;
inline constexpr Result out_of_memory = 2;
inline constexpr Result stub_library = 34;
inline constexpr Result no_device = 100;
inline constexpr Result invalid_context = 201;
inline constexpr Result unsupported_exec_affinity = 224;
inline constexpr Result not_permitted = 800;
inline constexpr Result not_supported = 801;
inline constexpr Result system_not_ready = 802;
inline constexpr Result system_driver_mismatch = 803;
inline constexpr Result compat_not_supported = 804;
inline constexpr Result unknown = 999;

enum class Attribute : int {
  clock_khz = 13,
  multiprocessors = 16,
  memory_clock_khz = 36,
  memory_bus_bits = 37,
  l2_bytes = 38,
  threads_per_multiprocessor = 39,
  compute_capability_major = 75,
  compute_capability_minor = 76,
  smem_per_multiprocessor_bytes = 81,
  registers_per_multiprocessor = 82,
  smem_per_block_optin_bytes = 97,
  blocks_per_multiprocessor = 106,
  mps_enabled = 133,
};

struct Uuid {
  unsigned char bytes[16];
};

struct ExecAffinity {
  int type;  // 0: SM count
  unsigned sm_count;
};

struct DevResource {
  int type;  // 1: SMs
  unsigned char padding[92];
  unsigned sm_count;
  unsigned char rest[156];  // 44 in CUDA 12.4 to 13.0; more, so that a driver that writes more stays inside
};

inline constexpr int exec_affinity_sm_count = 0;
inline constexpr int dev_resource_sm = 1;
inline constexpr unsigned stream_non_blocking = 1;
inline constexpr unsigned green_context_default_stream = 1;
inline constexpr int function_max_dynamic_smem_bytes = 8;

/// One function of the driver. `since` is the CUDA version that brought it, 12040 for 12.4.
template <class... Args>
struct Symbol {
  const char* name;
  Result (*address)(Args...);
  explicit operator bool() const { return address != nullptr; }
};

/// The opened library. It is never closed: a driver with live threads and exit handlers does not survive that.
class Library {
 public:
  explicit Library(const std::string& path);

  /// Converts to the Symbol type that it initialises.
  struct Entry {
    const char* name;
    void* address;
    template <class... Args>
    operator Symbol<Args...>() const {  // NOLINT(google-explicit-constructor)
      return {name, reinterpret_cast<Result (*)(Args...)>(address)};
    }
  };
  Entry required(const char* name, int since) const;
  Entry optional(const char* name) const;
  int version() const { return version_; }

 private:
  std::string path_;
  void* handle_;
  int version_ = 0;
};

}  // namespace cuda

/// "12.4" for 12040.
std::string version_text(int cuda_version);

/// The driver, opened and initialised. A plain table: making one twice costs some fifty look-ups by name.
struct Driver {
  /// NoDeviceError where there is no driver or no device, DriverError where the driver is too old or will not start.
  explicit Driver(const std::string& path = "libcuda.so.1");

  cuda::Library library;  // before the symbols, which are looked up in it

  template <class... Args>
  using Symbol = cuda::Symbol<Args...>;
  Symbol<cuda::Result, const char**> cuGetErrorName = library.required("cuGetErrorName", 6000);
  Symbol<cuda::Result, const char**> cuGetErrorString = library.required("cuGetErrorString", 6000);
  Symbol<unsigned> cuInit = library.required("cuInit", 2000);
  Symbol<int*> cuDeviceGetCount = library.required("cuDeviceGetCount", 2000);
  Symbol<cuda::Device*, int> cuDeviceGet = library.required("cuDeviceGet", 2000);
  Symbol<char*, int, cuda::Device> cuDeviceGetName = library.required("cuDeviceGetName", 2000);
  Symbol<int*, cuda::Attribute, cuda::Device> cuDeviceGetAttribute = library.required("cuDeviceGetAttribute", 2000);
  Symbol<cuda::Uuid*, cuda::Device> cuDeviceGetUuid = library.required("cuDeviceGetUuid_v2", 11040);
  Symbol<cuda::Context*> cuCtxGetCurrent = library.required("cuCtxGetCurrent", 4000);
  Symbol<cuda::Device*> cuCtxGetDevice = library.required("cuCtxGetDevice", 2000);
  Symbol<cuda::Context> cuCtxPushCurrent = library.required("cuCtxPushCurrent_v2", 4000);
  Symbol<cuda::Context*> cuCtxPopCurrent = library.required("cuCtxPopCurrent_v2", 4000);
  Symbol<> cuCtxSynchronize = library.required("cuCtxSynchronize", 2000);
  Symbol<cuda::ExecAffinity*, int> cuCtxGetExecAffinity = library.optional("cuCtxGetExecAffinity");              // 11.4
  Symbol<cuda::Context, cuda::DevResource*, int> cuCtxGetDevResource = library.optional("cuCtxGetDevResource");  // 12.4
  Symbol<cuda::Context*, cuda::Device> cuDevicePrimaryCtxRetain = library.required("cuDevicePrimaryCtxRetain", 7000);
  Symbol<cuda::Device> cuDevicePrimaryCtxRelease = library.required("cuDevicePrimaryCtxRelease_v2", 11000);
  Symbol<cuda::Module*, const void*> cuModuleLoadData = library.required("cuModuleLoadData", 2000);
  Symbol<cuda::Module> cuModuleUnload = library.required("cuModuleUnload", 2000);
  Symbol<cuda::Function*, cuda::Module, const char*> cuModuleGetFunction =
      library.required("cuModuleGetFunction", 2000);
  Symbol<cuda::Address*, std::size_t> cuMemAlloc = library.required("cuMemAlloc_v2", 3020);
  Symbol<cuda::Address> cuMemFree = library.required("cuMemFree_v2", 3020);
  Symbol<cuda::Address, unsigned, std::size_t> cuMemsetD32 = library.required("cuMemsetD32_v2", 3020);
  Symbol<void*, cuda::Address, std::size_t> cuMemcpyDtoH = library.required("cuMemcpyDtoH_v2", 3020);
  Symbol<cuda::Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, cuda::Stream, void**,
         void**>
      cuLaunchKernel = library.required("cuLaunchKernel", 4000);
  Symbol<char*, int, cuda::Device> cuDeviceGetPCIBusId = library.required("cuDeviceGetPCIBusId", 4010);
  Symbol<std::size_t*, std::size_t*> cuMemGetInfo = library.required("cuMemGetInfo_v2", 3020);
  Symbol<cuda::Address, unsigned, std::size_t, cuda::Stream> cuMemsetD32Async =
      library.required("cuMemsetD32Async", 3020);
  Symbol<cuda::Address, const void*, std::size_t, cuda::Stream> cuMemcpyHtoDAsync =
      library.required("cuMemcpyHtoDAsync_v2", 3020);
  Symbol<cuda::Address, cuda::Address, std::size_t, cuda::Stream> cuMemcpyDtoDAsync =
      library.required("cuMemcpyDtoDAsync_v2", 3020);
  Symbol<void*, cuda::Address, std::size_t, cuda::Stream> cuMemcpyDtoHAsync =
      library.required("cuMemcpyDtoHAsync_v2", 3020);
  Symbol<cuda::Stream*, unsigned> cuStreamCreate = library.required("cuStreamCreate", 2000);
  Symbol<cuda::Stream> cuStreamDestroy = library.required("cuStreamDestroy_v2", 4000);
  Symbol<cuda::Stream> cuStreamSynchronize = library.required("cuStreamSynchronize", 2000);
  Symbol<cuda::Event*, unsigned> cuEventCreate = library.required("cuEventCreate", 2000);
  Symbol<cuda::Event> cuEventDestroy = library.required("cuEventDestroy_v2", 4000);
  Symbol<cuda::Event, cuda::Stream> cuEventRecord = library.required("cuEventRecord", 2000);
  Symbol<cuda::Event> cuEventSynchronize = library.required("cuEventSynchronize", 2000);
  Symbol<float*, cuda::Event, cuda::Event> cuEventElapsedTime = library.required("cuEventElapsedTime", 2000);
  Symbol<cuda::Function, int, int> cuFuncSetAttribute = library.required("cuFuncSetAttribute", 9000);
  // these came with 12.0
  Symbol<cuda::KernelLibrary*, const void*, int*, void**, unsigned, int*, void**, unsigned> cuLibraryLoadData =
      library.optional("cuLibraryLoadData");
  Symbol<cuda::KernelLibrary> cuLibraryUnload = library.optional("cuLibraryUnload");
  Symbol<cuda::LibraryKernel*, cuda::KernelLibrary, const char*> cuLibraryGetKernel =
      library.optional("cuLibraryGetKernel");
  Symbol<cuda::Function*, cuda::LibraryKernel> cuKernelGetFunction = library.optional("cuKernelGetFunction");
  Symbol<int, int, cuda::LibraryKernel, cuda::Device> cuKernelSetAttribute = library.optional("cuKernelSetAttribute");
  // these came with 12.4, the last with 12.5
  Symbol<cuda::Function, std::size_t, std::size_t*, std::size_t*> cuFuncGetParamInfo =
      library.optional("cuFuncGetParamInfo");
  Symbol<cuda::Device, cuda::DevResource*, int> cuDeviceGetDevResource = library.optional("cuDeviceGetDevResource");
  Symbol<cuda::DevResource*, unsigned*, const cuda::DevResource*, cuda::DevResource*, unsigned, unsigned>
      cuDevSmResourceSplitByCount = library.optional("cuDevSmResourceSplitByCount");
  Symbol<cuda::DevResourceDesc*, cuda::DevResource*, unsigned> cuDevResourceGenerateDesc =
      library.optional("cuDevResourceGenerateDesc");
  Symbol<cuda::GreenContext*, cuda::DevResourceDesc, cuda::Device, unsigned> cuGreenCtxCreate =
      library.optional("cuGreenCtxCreate");
  Symbol<cuda::GreenContext> cuGreenCtxDestroy = library.optional("cuGreenCtxDestroy");
  Symbol<cuda::GreenContext, cuda::Event> cuGreenCtxRecordEvent = library.optional("cuGreenCtxRecordEvent");
  Symbol<cuda::Stream*, cuda::GreenContext, unsigned, int> cuGreenCtxStreamCreate =
      library.optional("cuGreenCtxStreamCreate");

  /// Calls and throws DriverError, naming the function and the driver's own error, where it does not succeed.
  template <class... Args>
  void call(const Symbol<Args...>& symbol, std::type_identity_t<Args>... args) const {
    if (const cuda::Result code = symbol.address(args...); code != cuda::success) fail(symbol.name, code);
  }

  [[noreturn]] void fail(const char* function, cuda::Result code) const;
  std::string error_name(cuda::Result code) const;
};

}  // namespace gemm_tuner
