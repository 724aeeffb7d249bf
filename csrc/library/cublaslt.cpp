#include "library/cublaslt.hpp"

#include <dlfcn.h>

namespace gemm_tuner {
namespace {

void* opened(const std::string& path) {
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return handle;
  const char* const reason = dlerror();
  throw LibraryError("cuBLASLt is not to be had: " + path + " could not be opened (" +
                     (reason != nullptr ? reason : "the loader gives no reason") +
                     "). Install a torch for CUDA, or name the library by GEMM_TUNER_LIBCUBLASLT.");
}

}  // namespace

CublasLt::CublasLt(const std::string& path)
    : path_(path),
      handle_(opened(path)),
      get_version_(reinterpret_cast<std::size_t (*)()>(required("cublasLtGetVersion").address)) {}

CublasLt::Entry CublasLt::required(const char* name) const {
  if (void* const address = dlsym(handle_, name)) return {name, address};
  throw LibraryError(path_ + " lacks " + name + ": use the cuBLASLt of CUDA 12 or newer.");
}

void CublasLt::fail(const char* function, cublaslt::Status status) const {
  const auto name_of = reinterpret_cast<const char* (*)(cublaslt::Status)>(required("cublasLtGetStatusName").address);
  throw LibraryError(std::string(function) + " failed with " + name_of(status));
}

}  // namespace gemm_tuner
