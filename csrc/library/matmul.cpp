#include "library/matmul.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>
#include <utility>

#include "library/words.hpp"

namespace gemm_tuner {
namespace {

using cublaslt::adds_bias;
using cublaslt::AlgorithmAttribute;
using cublaslt::compute_of;
using cublaslt::DataType;
using cublaslt::DescAttribute;
using cublaslt::epilogue_of;
using cublaslt::is_integer;
using cublaslt::type_of;

constexpr int max_pointer_alignment_bytes = 16;  // beyond it no load gets wider
constexpr cuda::Address aligned_to_a_load = 16;  // the heuristic reads a pointer's alignment off its value
constexpr std::size_t product_operands = 3;      // a, b and c, before those that the epilogue takes

std::string hexadecimal(const cublaslt::Algo& algo) {
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  for (const std::uint64_t word : algo.words) {
    for (int shift = 60; shift >= 0; shift -= 4) text += digits[(word >> shift) & 0xF];
  }
  return text;
}

cublaslt::Algo algo_of(const LibraryAlgorithm& algorithm) {
  validate(algorithm);
  cublaslt::Algo algo{};
  const char* begin = algorithm.words.data();
  for (std::uint64_t& word : algo.words) {
    std::from_chars(begin, begin + 16, word, 16);
    begin += 16;
  }
  return algo;
}

/// What the library says of the algorithm; 0 where it does not know the attribute.
int told(const CublasLt& library, const cublaslt::Algo& algo, AlgorithmAttribute attribute) {
  std::int32_t value = 0;
  std::size_t written = 0;
  const bool known = library.get_config.address(&algo, attribute, &value, sizeof value, &written) == cublaslt::success;
  return known ? value : 0;
}

LibraryAlgorithm described(const CublasLt& library, const cublaslt::HeuristicResult& found) {
  const auto says = [&](AlgorithmAttribute attribute) { return told(library, found.algo, attribute); };
  return {.words = hexadecimal(found.algo),
          .id = says(AlgorithmAttribute::id),
          .tile = says(AlgorithmAttribute::tile),
          .stages = says(AlgorithmAttribute::stages),
          .split_k = says(AlgorithmAttribute::split_k),
          .reduction = says(AlgorithmAttribute::reduction),
          .swizzle = says(AlgorithmAttribute::swizzle),
          .custom_option = says(AlgorithmAttribute::custom_option),
          .workspace_bytes = static_cast<long long>(found.workspace_bytes)};
}

Described<cublaslt::MatmulDesc> desc_for(const CublasLt& library, const GemmProblem& problem) {
  cublaslt::MatmulDesc desc = nullptr;
  library.call(library.create_desc, &desc, compute_of(problem),
               is_integer(problem) ? DataType::real_32i : DataType::real_32f);
  return {desc, library.destroy_desc};
}

const GemmProblem& required(const GemmProblem& problem) {
  if (const std::optional<std::string> why = why_library_lacks(problem)) throw std::invalid_argument(*why);
  return problem;
}

}  // namespace

LibraryHome::LibraryHome(const CublasLt& library_given, Driver driver, int ordinal)
    : library(library_given), home(std::move(driver), ordinal) {
  home.in_context([&] { library.call(library.create, &handle); });
}

Described<cublaslt::MatrixLayout> LibraryProduct::layout(DataType type, std::int64_t rows, std::int64_t columns,
                                                         std::int64_t pitch, std::int64_t batch,
                                                         std::int64_t stride) const {
  const CublasLt& library = home_->library;
  cublaslt::MatrixLayout made = nullptr;
  library.call(library.create_layout, &made, type, static_cast<std::uint64_t>(rows),
               static_cast<std::uint64_t>(columns), pitch);
  Described<cublaslt::MatrixLayout> owned{made, library.destroy_layout};
  if (batch > 1) {
    const auto count = static_cast<std::int32_t>(batch);
    library.call(library.set_layout, made, cublaslt::LayoutAttribute::batch_count, &count, sizeof count);
    library.call(library.set_layout, made, cublaslt::LayoutAttribute::strided_batch_offset, &stride, sizeof stride);
  }
  return owned;
}

// What is stored row by row is to the library stored column by column, with as many rows as a row is long.
LibraryProduct::LibraryProduct(std::shared_ptr<const LibraryHome> home, const GemmProblem& p,
                               const OperandStrides& strides, int sm_count)
    : home_(std::move(home)),
      desc_(desc_for(home_->library, required(p))),
      left_(b_is_transposed(p.layout)
                ? layout(type_of(p.b_dtype), p.k, p.n, strides.b_pitch, p.batch, strides.b_batch)
                : layout(type_of(p.b_dtype), p.n, p.k, strides.b_pitch, p.batch, strides.b_batch)),
      right_(a_is_transposed(p.layout)
                 ? layout(type_of(p.a_dtype), p.m, p.k, strides.a_pitch, p.batch, strides.a_batch)
                 : layout(type_of(p.a_dtype), p.k, p.m, strides.a_pitch, p.batch, strides.a_batch)),
      out_(layout(type_of(p.out_dtype), p.n, p.m, p.n, p.batch, p.m * p.n)),
      is_int_(is_integer(p)),
      operands_{"a", "b", "c"} {
  const auto alignment_bytes = [&](DType dtype) {
    return static_cast<std::uint32_t>(std::min(max_pointer_alignment_bytes, p.alignment * bytes_of(dtype)));
  };
  alignment_bytes_[0] = alignment_bytes(p.b_dtype);
  alignment_bytes_[1] = alignment_bytes(p.a_dtype);
  describe(p, sm_count);
}

void LibraryProduct::describe(const GemmProblem& problem, int sm_count) {
  const CublasLt& library = home_->library;
  const auto set = [&](DescAttribute attribute, const auto& value) {
    library.call(library.set_desc, desc_, attribute, &value, sizeof value);
  };
  set(DescAttribute::transpose_a, std::int32_t{b_is_transposed(problem.layout)});
  set(DescAttribute::transpose_b, std::int32_t{a_is_transposed(problem.layout)});
  set(DescAttribute::epilogue, epilogue_of(problem));
  if (sm_count > 0) set(DescAttribute::sm_count_target, std::int32_t{sm_count});
  const auto takes = [&](const char* name, DescAttribute pointer) {
    operands_.emplace_back(name);
    pointers_.push_back(pointer);
    set_pointer(pointer, aligned_to_a_load);
  };
  if (adds_bias(problem)) {
    set(DescAttribute::bias_data_type, type_of(problem.out_dtype));
    takes("bias", DescAttribute::bias_pointer);
  }
  if (problem.op == Op::scaled_mm) {
    takes("scale_a", DescAttribute::b_scale_pointer);  // our A is its B
    takes("scale_b", DescAttribute::a_scale_pointer);
  }
}

void LibraryProduct::set_pointer(DescAttribute attribute, cuda::Address address) const {
  const void* const pointer = reinterpret_cast<const void*>(address);
  home_->library.call(home_->library.set_desc, desc_, attribute, &pointer, sizeof pointer);
}

std::vector<LibraryAlgorithm> LibraryProduct::algorithms(std::size_t workspace_bytes, int count) const {
  using Preference = cublaslt::PreferenceAttribute;
  const CublasLt& library = home_->library;
  cublaslt::Preference made = nullptr;
  library.call(library.create_preference, &made);
  const Described<cublaslt::Preference> preference{made, library.destroy_preference};
  const auto prefer = [&](Preference attribute, const auto& value) {
    library.call(library.set_preference, preference, attribute, &value, sizeof value);
  };
  prefer(Preference::max_workspace_bytes, std::uint64_t{workspace_bytes});
  // parts of sums are kept as precise as the sums: what is rounded in between is less than a record promises
  prefer(Preference::reduction_scheme_mask, cublaslt::reduction_in_compute_type);
  prefer(Preference::min_alignment_a_bytes, alignment_bytes_[0]);
  prefer(Preference::min_alignment_b_bytes, alignment_bytes_[1]);
  prefer(Preference::min_alignment_c_bytes, std::uint32_t{max_pointer_alignment_bytes});
  prefer(Preference::min_alignment_d_bytes, std::uint32_t{max_pointer_alignment_bytes});
  std::vector<cublaslt::HeuristicResult> results(static_cast<std::size_t>(std::max(count, 1)));
  int found = 0;
  home_->home.in_context([&] {
    const cublaslt::Status status =
        library.get_heuristic.address(home_->handle, desc_, left_, right_, out_, out_, preference,
                                      static_cast<int>(results.size()), results.data(), &found);
    if (status == cublaslt::not_supported) found = 0;
    if (status != cublaslt::success && status != cublaslt::not_supported)
      library.fail(library.get_heuristic.name, status);
  });
  std::vector<LibraryAlgorithm> algorithms;
  for (const cublaslt::HeuristicResult& each : std::span(results).first(static_cast<std::size_t>(found))) {
    if (each.state != cublaslt::success) continue;
    const LibraryAlgorithm algorithm = described(library, each);
    const bool known = std::find(algorithms.begin(), algorithms.end(), algorithm) != algorithms.end();
    if (!known) algorithms.push_back(algorithm);
  }
  return algorithms;
}

std::size_t LibraryProduct::check(const cublaslt::Algo& algo) const {
  const CublasLt& library = home_->library;
  cublaslt::HeuristicResult result{};
  cublaslt::Status status = cublaslt::success;
  home_->home.in_context(
      [&] { status = library.check.address(home_->handle, desc_, left_, right_, out_, out_, &algo, &result); });
  if (status == cublaslt::success) status = result.state;
  if (status != cublaslt::success) {
    throw std::invalid_argument("cuBLASLt " + std::to_string(library.version()) +
                                " does not run this algorithm for this problem (status " + std::to_string(status) +
                                ")");
  }
  return result.workspace_bytes;
}

void LibraryProduct::enqueue(const cublaslt::Algo& algo, cuda::Stream stream, std::span<const cuda::Address> operands,
                             cuda::Address workspace, std::size_t workspace_bytes) const {
  constexpr float one = 1;
  constexpr float nothing = 0;
  constexpr std::int32_t int_one = 1;
  constexpr std::int32_t int_nothing = 0;
  const void* const alpha = is_int_ ? static_cast<const void*>(&int_one) : &one;
  const void* const beta = is_int_ ? static_cast<const void*>(&int_nothing) : &nothing;
  const auto at = [](cuda::Address address) { return reinterpret_cast<void*>(address); };
  const CublasLt& library = home_->library;
  std::unique_lock lock(mutex_, std::defer_lock);
  if (!pointers_.empty()) lock.lock();
  for (std::size_t i = 0; i < pointers_.size(); ++i) set_pointer(pointers_[i], operands[product_operands + i]);
  home_->home.in_context([&] {
    library.call(library.matmul, home_->handle, desc_, alpha, at(operands[1]), left_, at(operands[0]), right_, beta,
                 at(operands[2]), out_, at(operands[2]), out_, &algo, at(workspace), workspace_bytes, stream);
  });
}

LibraryKernel::LibraryKernel(std::shared_ptr<const LibraryProduct> product, const LibraryAlgorithm& algorithm)
    : product_(std::move(product)),
      algo_(algo_of(algorithm)),
      workspace_bytes_(product_->check(algo_)),
      operands_(product_->operands()) {
  if (workspace_bytes_ > 0) operands_.emplace_back("parts");
}

void LibraryKernel::enqueue(cuda::Stream stream, std::span<const cuda::Address> addresses) const {
  if (addresses.size() != operands_.size()) {
    throw std::invalid_argument("the product takes " + std::to_string(operands_.size()) + " addresses, got " +
                                std::to_string(addresses.size()));
  }
  const std::size_t given = product_->operands().size();
  const cuda::Address workspace = workspace_bytes_ > 0 ? addresses[given] : 0;
  product_->enqueue(algo_, stream, addresses.first(given), workspace, workspace_bytes_);
}

}  // namespace gemm_tuner
