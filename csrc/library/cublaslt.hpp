// libcublasLt, opened at run time as the driver is: the copy that torch ships is the one whose kernels ATen runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "device/driver.hpp"

namespace gemm_tuner {

/// There is no cuBLASLt, or it refuses.
struct LibraryError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The little of cublasLt.h that is used here, declared anew so that no toolkit is needed to build; the header's names
// stand behind the values. Its ABI is the same in cuBLAS 12 and 13.
namespace cublaslt {

using Status = int;
using Handle = struct HandleTag*;
using MatmulDesc = struct MatmulDescTag*;
using MatrixLayout = struct MatrixLayoutTag*;
using Preference = struct PreferenceTag*;

inline constexpr Status success = 0;
inline constexpr Status not_supported = 15;

enum class DataType : std::int32_t {
  real_32f = 0,       // CUDA_R_32F
  real_16f = 2,       // CUDA_R_16F
  real_8i = 3,        // CUDA_R_8I
  real_32i = 10,      // CUDA_R_32I
  real_16bf = 14,     // CUDA_R_16BF
  real_8f_e4m3 = 28,  // CUDA_R_8F_E4M3
  real_8f_e5m2 = 29,  // CUDA_R_8F_E5M2
};

enum class ComputeType : std::int32_t {
  compute_32f = 68,            // CUBLAS_COMPUTE_32F
  compute_32i = 72,            // CUBLAS_COMPUTE_32I
  compute_32f_fast_tf32 = 77,  // CUBLAS_COMPUTE_32F_FAST_TF32
};

enum class DescAttribute : int {
  transpose_a = 3,       // CUBLASLT_MATMUL_DESC_TRANSA, int32: 0 as it is, 1 transposed
  transpose_b = 4,       // CUBLASLT_MATMUL_DESC_TRANSB
  epilogue = 7,          // CUBLASLT_MATMUL_DESC_EPILOGUE, uint32
  bias_pointer = 8,      // CUBLASLT_MATMUL_DESC_BIAS_POINTER
  sm_count_target = 15,  // CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, int32: 0 for all
  a_scale_pointer = 17,  // CUBLASLT_MATMUL_DESC_A_SCALE_POINTER
  b_scale_pointer = 18,  // CUBLASLT_MATMUL_DESC_B_SCALE_POINTER
  bias_data_type = 26,   // CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, int32
};

enum class LayoutAttribute : int {
  batch_count = 5,           // CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32
  strided_batch_offset = 6,  // CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, int64, elements
};

enum class PreferenceAttribute : int {
  max_workspace_bytes = 1,    // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64
  reduction_scheme_mask = 3,  // CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32
  min_alignment_a_bytes = 5,  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32; B, C and D follow
  min_alignment_b_bytes = 6,
  min_alignment_c_bytes = 7,
  min_alignment_d_bytes = 8,
};

enum class AlgorithmAttribute : int {  // CUBLASLT_ALGO_CONFIG_*, 32 bits each but where noted
  id = 0,
  tile = 1,
  split_k = 2,
  reduction = 3,
  swizzle = 4,
  custom_option = 5,
  stages = 6,
};

inline constexpr std::uint32_t reduction_in_compute_type = 2;  // CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
inline constexpr std::uint32_t epilogue_default = 1;           // CUBLASLT_EPILOGUE_DEFAULT
inline constexpr std::uint32_t epilogue_relu = 2;              // CUBLASLT_EPILOGUE_RELU
inline constexpr std::uint32_t epilogue_bias = 4;              // CUBLASLT_EPILOGUE_BIAS
inline constexpr std::uint32_t epilogue_gelu = 32;             // CUBLASLT_EPILOGUE_GELU, which is the tanh one

/// cublasLtMatmulAlgo_t: plain words, which may be kept and given to the same version of the library again.
struct Algo {
  std::uint64_t words[8];
};

/// cublasLtMatmulHeuristicResult_t.
struct HeuristicResult {
  Algo algo;
  std::size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

}  // namespace cublaslt

/// The opened library: a plain table, which is never closed.
class CublasLt {
 public:
  /// path: as dlopen takes it. LibraryError where it cannot be opened or lacks a function.
  explicit CublasLt(const std::string& path);

  template <class... Args>
  struct Symbol {
    const char* name;
    cublaslt::Status (*address)(Args...);
  };

  /// Calls and throws LibraryError, naming the function and the library's own error, where it does not succeed.
  template <class... Args>
  void call(const Symbol<Args...>& symbol, std::type_identity_t<Args>... args) const {
    if (const cublaslt::Status status = symbol.address(args...); status != cublaslt::success) fail(symbol.name, status);
  }
  [[noreturn]] void fail(const char* function, cublaslt::Status status) const;

  /// 130100 for cuBLAS 13.1.0; 120805 for 12.8.5.
  std::size_t version() const { return get_version_(); }

 private:
  struct Entry {
    const char* name;
    void* address;
    template <class... Args>
    operator Symbol<Args...>() const {  // NOLINT(google-explicit-constructor)
      return {name, reinterpret_cast<cublaslt::Status (*)(Args...)>(address)};
    }
  };
  Entry required(const char* name) const;
  std::string path_;
  void* handle_;
  std::size_t (*get_version_)();

 public:
  Symbol<cublaslt::Handle*> create = required("cublasLtCreate");
  Symbol<cublaslt::MatmulDesc*, cublaslt::ComputeType, cublaslt::DataType> create_desc =
      required("cublasLtMatmulDescCreate");
  Symbol<cublaslt::MatmulDesc> destroy_desc = required("cublasLtMatmulDescDestroy");
  Symbol<cublaslt::MatmulDesc, cublaslt::DescAttribute, const void*, std::size_t> set_desc =
      required("cublasLtMatmulDescSetAttribute");
  Symbol<cublaslt::MatrixLayout*, cublaslt::DataType, std::uint64_t, std::uint64_t, std::int64_t> create_layout =
      required("cublasLtMatrixLayoutCreate");
  Symbol<cublaslt::MatrixLayout> destroy_layout = required("cublasLtMatrixLayoutDestroy");
  Symbol<cublaslt::MatrixLayout, cublaslt::LayoutAttribute, const void*, std::size_t> set_layout =
      required("cublasLtMatrixLayoutSetAttribute");
  Symbol<cublaslt::Preference*> create_preference = required("cublasLtMatmulPreferenceCreate");
  Symbol<cublaslt::Preference> destroy_preference = required("cublasLtMatmulPreferenceDestroy");
  Symbol<cublaslt::Preference, cublaslt::PreferenceAttribute, const void*, std::size_t> set_preference =
      required("cublasLtMatmulPreferenceSetAttribute");
  Symbol<cublaslt::Handle, cublaslt::MatmulDesc, cublaslt::MatrixLayout, cublaslt::MatrixLayout, cublaslt::MatrixLayout,
         cublaslt::MatrixLayout, cublaslt::Preference, int, cublaslt::HeuristicResult*, int*>
      get_heuristic = required("cublasLtMatmulAlgoGetHeuristic");
  Symbol<cublaslt::Handle, cublaslt::MatmulDesc, cublaslt::MatrixLayout, cublaslt::MatrixLayout, cublaslt::MatrixLayout,
         cublaslt::MatrixLayout, const cublaslt::Algo*, cublaslt::HeuristicResult*>
      check = required("cublasLtMatmulAlgoCheck");
  Symbol<const cublaslt::Algo*, cublaslt::AlgorithmAttribute, void*, std::size_t, std::size_t*> get_config =
      required("cublasLtMatmulAlgoConfigGetAttribute");
  Symbol<cublaslt::Handle, cublaslt::MatmulDesc, const void*, const void*, cublaslt::MatrixLayout, const void*,
         cublaslt::MatrixLayout, const void*, const void*, cublaslt::MatrixLayout, void*, cublaslt::MatrixLayout,
         const cublaslt::Algo*, void*, std::size_t, cuda::Stream>
      matmul = required("cublasLtMatmul");
};

}  // namespace gemm_tuner
