// Our declarations of cuBLASLt's interface (library/cublaslt.hpp) against NVIDIA's cublasLt.h. Compiling is passing.
#include <cublasLt.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <type_traits>
#include <utility>

#include "library/cublaslt.hpp"

namespace gemm_tuner {
namespace {

template <class Ours, class Theirs>
constexpr bool same(Ours ours, Theirs theirs) {
  return static_cast<int>(ours) == static_cast<int>(theirs);
}

using enum cublaslt::DataType;
static_assert(same(real_32f, CUDA_R_32F));
static_assert(same(real_16f, CUDA_R_16F));
static_assert(same(real_8i, CUDA_R_8I));
static_assert(same(real_32i, CUDA_R_32I));
static_assert(same(real_16bf, CUDA_R_16BF));
static_assert(same(real_8f_e4m3, CUDA_R_8F_E4M3));
static_assert(same(real_8f_e5m2, CUDA_R_8F_E5M2));

using enum cublaslt::ComputeType;
static_assert(same(compute_32f, CUBLAS_COMPUTE_32F));
static_assert(same(compute_32i, CUBLAS_COMPUTE_32I));
static_assert(same(compute_32f_fast_tf32, CUBLAS_COMPUTE_32F_FAST_TF32));

using enum cublaslt::DescAttribute;
static_assert(same(transpose_a, CUBLASLT_MATMUL_DESC_TRANSA));
static_assert(same(transpose_b, CUBLASLT_MATMUL_DESC_TRANSB));
static_assert(same(epilogue, CUBLASLT_MATMUL_DESC_EPILOGUE));
static_assert(same(bias_pointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER));
static_assert(same(sm_count_target, CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET));
static_assert(same(a_scale_pointer, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER));
static_assert(same(b_scale_pointer, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER));
static_assert(same(bias_data_type, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE));

using enum cublaslt::LayoutAttribute;
static_assert(same(batch_count, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT));
static_assert(same(strided_batch_offset, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET));

using enum cublaslt::PreferenceAttribute;
static_assert(same(max_workspace_bytes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES));
static_assert(same(reduction_scheme_mask, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK));
static_assert(same(min_alignment_a_bytes, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES));
static_assert(same(min_alignment_b_bytes, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES));
static_assert(same(min_alignment_c_bytes, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES));
static_assert(same(min_alignment_d_bytes, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES));

using Algorithm = cublaslt::AlgorithmAttribute;
static_assert(same(Algorithm::id, CUBLASLT_ALGO_CONFIG_ID));
static_assert(same(Algorithm::tile, CUBLASLT_ALGO_CONFIG_TILE_ID));
static_assert(same(Algorithm::split_k, CUBLASLT_ALGO_CONFIG_SPLITK_NUM));
static_assert(same(Algorithm::reduction, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME));
static_assert(same(Algorithm::swizzle, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING));
static_assert(same(Algorithm::custom_option, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION));
static_assert(same(Algorithm::stages, CUBLASLT_ALGO_CONFIG_STAGES_ID));

static_assert(same(cublaslt::success, CUBLAS_STATUS_SUCCESS));
static_assert(same(cublaslt::not_supported, CUBLAS_STATUS_NOT_SUPPORTED));
static_assert(same(cublaslt::reduction_in_compute_type, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
static_assert(same(cublaslt::epilogue_default, CUBLASLT_EPILOGUE_DEFAULT));
static_assert(same(cublaslt::epilogue_relu, CUBLASLT_EPILOGUE_RELU));
static_assert(same(cublaslt::epilogue_bias, CUBLASLT_EPILOGUE_BIAS));
static_assert(same(cublaslt::epilogue_gelu, CUBLASLT_EPILOGUE_GELU));

using Theirs = cublasLtMatmulHeuristicResult_t;
using Ours = cublaslt::HeuristicResult;
static_assert(sizeof(cublaslt::Algo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(Ours) == sizeof(Theirs));
static_assert(offsetof(Ours, workspace_bytes) == offsetof(Theirs, workspaceSize));
static_assert(offsetof(Ours, state) == offsetof(Theirs, state));
static_assert(offsetof(Ours, waves) == offsetof(Theirs, wavesCount));

// what differs are the names of handles, which are pointers, and of enumerations, which are ints
template <class Type>
using Plain = std::conditional_t<std::is_pointer_v<Type>, void*,
                                 std::conditional_t<std::is_enum_v<Type>, int, std::decay_t<Type>>>;
template <class... Args>
constexpr auto plain(CublasLt::Symbol<Args...>) -> cublaslt::Status (*)(Plain<Args>...) {
  return nullptr;
}
template <class... Args>
constexpr auto plain(cublasStatus_t (*)(Args...)) -> cublaslt::Status (*)(Plain<Args>...) {
  return nullptr;
}
template <auto Member, auto Function>
constexpr bool same_parameters =
    std::is_same_v<decltype(plain(std::declval<CublasLt>().*Member)), decltype(plain(Function))>;

static_assert(same_parameters<&CublasLt::create, &cublasLtCreate>);
static_assert(same_parameters<&CublasLt::create_desc, &cublasLtMatmulDescCreate>);
static_assert(same_parameters<&CublasLt::destroy_desc, &cublasLtMatmulDescDestroy>);
static_assert(same_parameters<&CublasLt::set_desc, &cublasLtMatmulDescSetAttribute>);
static_assert(same_parameters<&CublasLt::create_layout, &cublasLtMatrixLayoutCreate>);
static_assert(same_parameters<&CublasLt::destroy_layout, &cublasLtMatrixLayoutDestroy>);
static_assert(same_parameters<&CublasLt::set_layout, &cublasLtMatrixLayoutSetAttribute>);
static_assert(same_parameters<&CublasLt::create_preference, &cublasLtMatmulPreferenceCreate>);
static_assert(same_parameters<&CublasLt::destroy_preference, &cublasLtMatmulPreferenceDestroy>);
static_assert(same_parameters<&CublasLt::set_preference, &cublasLtMatmulPreferenceSetAttribute>);
static_assert(same_parameters<&CublasLt::get_heuristic, &cublasLtMatmulAlgoGetHeuristic>);
static_assert(same_parameters<&CublasLt::check, &cublasLtMatmulAlgoCheck>);
static_assert(same_parameters<&CublasLt::get_config, &cublasLtMatmulAlgoConfigGetAttribute>);
static_assert(same_parameters<&CublasLt::matmul, &cublasLtMatmul>);

TEST(LibraryAbi, MatchesTheInstalledHeader) { SUCCEED(); }

}  // namespace
}  // namespace gemm_tuner
