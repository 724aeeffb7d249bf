#include "launch/torch_abi.hpp"

#include <dlfcn.h>

#include <stdexcept>

namespace gemm_tuner::torch_abi {
namespace {

void* opened(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle != nullptr) return handle;
  throw std::runtime_error("This process has not loaded " + path + ": import torch first, and give its own path.");
}

/// Converts to the type of function that it initialises.
struct Found {
  void* address;
  template <class Function>
  operator Function*() const {  // NOLINT(google-explicit-constructor)
    return reinterpret_cast<Function*>(address);
  }
};

Found optional(void* library, const char* name) { return {dlsym(library, name)}; }

Found required(void* library, const char* name) {
  const Found found = optional(library, name);
  if (found.address != nullptr) return found;
  throw std::runtime_error(std::string("This torch has no ") + name +
                           ", which native launches need: use torch 2.11 or newer.");
}

}  // namespace

Table::Table(const std::string& cpu_library, const std::string& cuda_library) : cpu_handle_(opened(cpu_library)) {
  get_sizes = required(cpu_handle_, "aoti_torch_get_sizes");
  get_strides = required(cpu_handle_, "aoti_torch_get_strides");
  get_dim = required(cpu_handle_, "aoti_torch_get_dim");
  get_dtype = required(cpu_handle_, "aoti_torch_get_dtype");
  get_device_type = required(cpu_handle_, "aoti_torch_get_device_type");
  get_device_index = required(cpu_handle_, "aoti_torch_get_device_index");
  get_data_ptr = required(cpu_handle_, "aoti_torch_get_data_ptr");
  delete_tensor = required(cpu_handle_, "aoti_torch_delete_tensor_object");
  empty_strided = required(cpu_handle_, "aoti_torch_empty_strided");
  text_length = required(cpu_handle_, "torch_string_length");
  text_bytes = required(cpu_handle_, "torch_string_c_str");
  delete_text = required(cpu_handle_, "torch_delete_string");
  call = required(cpu_handle_, "aoti_torch_call_dispatcher");
  registration = required(cpu_handle_, "aoti_torch_library_init_impl");
  implement = required(cpu_handle_, "aoti_torch_library_impl");
  end_registration = required(cpu_handle_, "aoti_torch_delete_library_object");
  cpu = required(cpu_handle_, "aoti_torch_device_type_cpu");
  failure = optional(cpu_handle_, "torch_exception_get_what_without_backtrace");
  new_value = optional(cpu_handle_, "torch_new_stable_ivalue");
  delete_value = optional(cpu_handle_, "torch_delete_stable_ivalue");
  if (!cuda_library.empty()) {
    current_stream = required(opened(cuda_library), "aoti_torch_get_current_cuda_stream");
  }
}

std::int32_t Table::dtype(const std::string& name) const {
  std::int32_t (*const number)() = optional(cpu_handle_, ("aoti_torch_dtype_" + name).c_str());
  if (number != nullptr) return number();
  throw std::invalid_argument("torch has no dtype '" + name + "'");
}

Value* Table::boxed(Value value) const {
  Value* made = nullptr;
  if (new_value != nullptr) {
    check(new_value(&made), "torch_new_stable_ivalue");
  } else {
    made = new Value;  // as torch itself frees it, before 2.13
  }
  *made = value;
  return made;
}

void Table::free(Value* value) const {
  if (delete_value != nullptr) {
    delete_value(value);
  } else {
    delete value;
  }
}

void Table::fail(const char* what) const {
  const char* const why = failure == nullptr ? nullptr : failure();
  throw std::runtime_error(std::string(what) + " failed" + (why == nullptr ? "" : std::string(": ") + why));
}

}  // namespace gemm_tuner::torch_abi
