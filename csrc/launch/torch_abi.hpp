// torch's stable C interface, opened at run time as the driver is: no torch is needed to build, and one wheel serves
// every torch that has it (2.10 and newer). torch/csrc/stable/c/shim.h and torch/csrc/inductor/aoti_torch/c/shim.h say
// what it promises; tests/python/test_native_op.py runs it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace gemm_tuner::torch_abi {

/// What a boxed operator is given and gives back: an integer, a handle, or for an optional argument that is there the
/// address of another Value.
using Value = std::uint64_t;
using Tensor = struct TensorTag*;
using Text = struct TextTag*;
using Registration = struct RegistrationTag*;
using Boxed = void (*)(Value* stack, std::uint64_t arguments, std::uint64_t results);

/// Every function gives 0, or something else and leaves a message for `failure`.
struct Table {
  /// cpu_library: the path of torch's libtorch_cpu.so, which this process has loaded. cuda_library: of its
  /// libtorch_cuda.so; empty where this torch has none. std::runtime_error where one is not loaded or lacks a function.
  Table(const std::string& cpu_library, const std::string& cuda_library);

  int (*get_sizes)(Tensor, std::int64_t**);
  int (*get_strides)(Tensor, std::int64_t**);
  int (*get_dim)(Tensor, std::int64_t*);
  int (*get_dtype)(Tensor, std::int32_t*);
  int (*get_device_type)(Tensor, std::int32_t*);
  int (*get_device_index)(Tensor, std::int32_t*);
  int (*get_data_ptr)(Tensor, void**);
  int (*delete_tensor)(Tensor);
  int (*empty_strided)(std::int64_t dims, const std::int64_t* sizes, const std::int64_t* strides, std::int32_t dtype,
                       std::int32_t device_type, std::int32_t device_index, Tensor*);
  int (*text_length)(Text, std::size_t*);
  int (*text_bytes)(Text, const char**);
  int (*delete_text)(Text);
  int (*call)(const char* op, const char* overload, Value* stack);
  int (*registration)(const char* name_space, const char* key, const char* file, std::uint32_t line, Registration*);
  int (*implement)(Registration, const char* name, Boxed);
  int (*end_registration)(Registration);
  std::int32_t (*cpu)();
  int (*current_stream)(std::int32_t device_index, void**) = nullptr;  // null without CUDA
  const char* (*failure)() = nullptr;                                  // null before torch 2.13
  int (*new_value)(Value**) = nullptr;                                 // the same
  int (*delete_value)(Value*) = nullptr;                               // the same

  /// torch's number of the dtype: "float16", "uint8", ... std::invalid_argument where torch has none of that name.
  std::int32_t dtype(const std::string& name) const;
  /// Throws std::runtime_error, saying what failed and why, where the result of a function is not 0.
  void check(int result, const char* what) const {
    if (result != 0) fail(what);
  }
  /// An argument that is there, of an optional parameter. Whoever takes it frees it.
  Value* boxed(Value value) const;
  void free(Value* value) const;

 private:
  [[noreturn]] void fail(const char* what) const;
  void* cpu_handle_;
};

/// A tensor that ends with its owner.
class OwnedTensor {
 public:
  OwnedTensor(const Table& table, Tensor tensor) : table_(&table), tensor_(tensor) {}
  OwnedTensor(OwnedTensor&& other) noexcept : table_(other.table_), tensor_(other.release()) {}
  OwnedTensor& operator=(OwnedTensor&&) = delete;
  ~OwnedTensor() {
    if (tensor_ != nullptr) table_->delete_tensor(tensor_);
  }
  Tensor get() const { return tensor_; }
  Tensor release() {
    const Tensor given = tensor_;
    tensor_ = nullptr;
    return given;
  }
  explicit operator bool() const { return tensor_ != nullptr; }

 private:
  const Table* table_;
  Tensor tensor_;
};

}  // namespace gemm_tuner::torch_abi
