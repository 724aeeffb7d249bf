// The closed vocabularies of a GEMM: element types, layouts, operations, precisions, kernel families.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace gemm_tuner {

enum class DType { float16, bfloat16, float32, float8_e4m3fn, float8_e5m2, int8, int32 };
enum class Layout { nn, nt, tn, tt };  // is A (then B) stored row-major as is (n) or transposed (t)?
enum class Op { mm, addmm, bmm, baddbmm, int_mm, scaled_mm, mm_plus_mm };
enum class Precision { tf32, ieee };  // of float32 products only; everything else is ieee
enum class Scaling {
  tensor,
  row
};  // of scaled_mm: one scale for each operand, or one for each row of A and column of B
enum class Family { tiled, split_k, stream_k, persistent, persistent_tma };
enum class Epilogue {
  none,
  bias,
  relu,
  gelu,
  gelu_tanh,
  silu,
  bias_relu,
  bias_gelu,
  bias_gelu_tanh,
  bias_silu,
  residual,
  bias_residual,
  relu_residual,
  gelu_residual,
  gelu_tanh_residual,
  silu_residual,
  bias_relu_residual,
  bias_gelu_residual,
  bias_gelu_tanh_residual,
  bias_silu_residual
};

template <class Enum>
struct Names;  // Names<Enum>::all pairs each value with the word users write; Names<Enum>::noun is used in errors

template <>
struct Names<DType> {
  static constexpr std::string_view noun = "dtype";
  static constexpr std::array<std::pair<DType, std::string_view>, 7> all{{{DType::float16, "float16"},
                                                                          {DType::bfloat16, "bfloat16"},
                                                                          {DType::float32, "float32"},
                                                                          {DType::float8_e4m3fn, "float8_e4m3fn"},
                                                                          {DType::float8_e5m2, "float8_e5m2"},
                                                                          {DType::int8, "int8"},
                                                                          {DType::int32, "int32"}}};
};

template <>
struct Names<Layout> {
  static constexpr std::string_view noun = "layout";
  static constexpr std::array<std::pair<Layout, std::string_view>, 4> all{
      {{Layout::nn, "nn"}, {Layout::nt, "nt"}, {Layout::tn, "tn"}, {Layout::tt, "tt"}}};
};

template <>
struct Names<Op> {
  static constexpr std::string_view noun = "op";
  static constexpr std::array<std::pair<Op, std::string_view>, 7> all{{{Op::mm, "mm"},
                                                                       {Op::addmm, "addmm"},
                                                                       {Op::bmm, "bmm"},
                                                                       {Op::baddbmm, "baddbmm"},
                                                                       {Op::int_mm, "int_mm"},
                                                                       {Op::scaled_mm, "scaled_mm"},
                                                                       {Op::mm_plus_mm, "mm_plus_mm"}}};
};

template <>
struct Names<Precision> {
  static constexpr std::string_view noun = "precision";
  static constexpr std::array<std::pair<Precision, std::string_view>, 2> all{
      {{Precision::tf32, "tf32"}, {Precision::ieee, "ieee"}}};
};

template <>
struct Names<Scaling> {
  static constexpr std::string_view noun = "scaling";
  static constexpr std::array<std::pair<Scaling, std::string_view>, 2> all{
      {{Scaling::tensor, "tensor"}, {Scaling::row, "row"}}};
};

template <>
struct Names<Family> {
  static constexpr std::string_view noun = "kernel family";
  static constexpr std::array<std::pair<Family, std::string_view>, 5> all{{{Family::tiled, "tiled"},
                                                                           {Family::split_k, "split_k"},
                                                                           {Family::stream_k, "stream_k"},
                                                                           {Family::persistent, "persistent"},
                                                                           {Family::persistent_tma, "persistent_tma"}}};
};

template <>
struct Names<Epilogue> {
  static constexpr std::string_view noun = "epilogue";
  static constexpr std::array<std::pair<Epilogue, std::string_view>, 20> all{
      {{Epilogue::none, "none"},
       {Epilogue::bias, "bias"},
       {Epilogue::relu, "relu"},
       {Epilogue::gelu, "gelu"},
       {Epilogue::gelu_tanh, "gelu_tanh"},
       {Epilogue::silu, "silu"},
       {Epilogue::bias_relu, "bias+relu"},
       {Epilogue::bias_gelu, "bias+gelu"},
       {Epilogue::bias_gelu_tanh, "bias+gelu_tanh"},
       {Epilogue::bias_silu, "bias+silu"},
       {Epilogue::residual, "residual"},
       {Epilogue::bias_residual, "bias+residual"},
       {Epilogue::relu_residual, "relu+residual"},
       {Epilogue::gelu_residual, "gelu+residual"},
       {Epilogue::gelu_tanh_residual, "gelu_tanh+residual"},
       {Epilogue::silu_residual, "silu+residual"},
       {Epilogue::bias_relu_residual, "bias+relu+residual"},
       {Epilogue::bias_gelu_residual, "bias+gelu+residual"},
       {Epilogue::bias_gelu_tanh_residual, "bias+gelu_tanh+residual"},
       {Epilogue::bias_silu_residual, "bias+silu+residual"}}};
};

[[noreturn]] void throw_unknown_name(std::string_view noun, std::string_view given, const std::string& known);

template <class Enum>
std::string_view to_string(Enum value) {
  for (const auto& [known, name] : Names<Enum>::all) {
    if (known == value) return name;
  }
  return "?";
}

/// The value named by `name`; std::invalid_argument lists the known names.
template <class Enum>
Enum from_string(std::string_view name) {
  std::string known;
  for (const auto& [value, word] : Names<Enum>::all) {
    if (word == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(word);
  }
  throw_unknown_name(Names<Enum>::noun, name, known);
}

int bytes_of(DType dtype);

}  // namespace gemm_tuner
