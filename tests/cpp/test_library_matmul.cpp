#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "library/matmul.hpp"
#include "library/words.hpp"
#include "stand_in.hpp"

namespace gemm_tuner::testing {
namespace {

using cuda::Address;

/// The stand-in libcublasLt, beside the stand-in libcuda.
class StandInLibrary {
 public:
  explicit StandInLibrary(const std::string& told = "") : handle_(dlopen(FAKE_LIBCUBLASLT, RTLD_NOW | RTLD_LOCAL)) {
    function<void(const char*)>("fake_cublaslt_configure")(told.c_str());
  }
  std::shared_ptr<const LibraryHome> open() const {
    return std::make_shared<LibraryHome>(CublasLt(FAKE_LIBCUBLASLT), driver_.open(), 0);
  }
  std::string product() const { return function<const char*()>("fake_cublaslt_product")(); }
  std::string preference() const { return function<const char*()>("fake_cublaslt_preference")(); }
  int calls(const char* of) const { return function<int(const char*)>("fake_cublaslt_calls")(of); }
  const StandIn& driver() const { return driver_; }

 private:
  template <class Signature>
  Signature* function(const char* name) const {
    return reinterpret_cast<Signature*>(dlsym(handle_, name));
  }
  void* handle_;
  StandIn driver_{"log=1"};
};

GemmProblem problem_of(Layout layout, Op op = Op::mm) {
  GemmProblem problem{.op = op, .m = 5, .n = 7, .k = 3, .layout = layout};
  problem.a_dtype = problem.b_dtype = problem.out_dtype = DType::float32;
  problem.alignment = 1;
  problem.batch = op == Op::bmm || op == Op::baddbmm ? 2 : 1;
  return problem;
}

/// Rows are longer than they need be, and so is each matrix.
OperandStrides strides_of(const GemmProblem& p) {
  const bool a_t = a_is_transposed(p.layout);
  const bool b_t = b_is_transposed(p.layout);
  OperandStrides strides{.a_pitch = (a_t ? p.m : p.k) + 2, .b_pitch = (b_t ? p.k : p.n) + 1};
  strides.a_batch = strides.a_pitch * (a_t ? p.k : p.m) + 4;
  strides.b_batch = strides.b_pitch * (b_t ? p.n : p.k) + 5;
  return strides;
}

std::vector<float> numbers(std::int64_t count, int step) {
  std::vector<float> made(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < made.size(); ++i) made[i] = static_cast<float>((static_cast<int>(i) * step) % 11 - 5);
  return made;
}

Address address_of(const void* memory) { return reinterpret_cast<Address>(memory); }

std::vector<float> expected(const GemmProblem& p, const OperandStrides& s, const std::vector<float>& a,
                            const std::vector<float>& b, const std::vector<float>& bias) {
  std::vector<float> c;
  for (std::int64_t matrix = 0; matrix < p.batch; ++matrix) {
    for (std::int64_t i = 0; i < p.m; ++i) {
      for (std::int64_t j = 0; j < p.n; ++j) {
        float sum = bias.empty() ? 0 : bias[static_cast<std::size_t>(j)];
        for (std::int64_t x = 0; x < p.k; ++x) {
          const auto at_a = a_is_transposed(p.layout) ? x * s.a_pitch + i : i * s.a_pitch + x;
          const auto at_b = b_is_transposed(p.layout) ? j * s.b_pitch + x : x * s.b_pitch + j;
          sum += a[static_cast<std::size_t>(matrix * s.a_batch + at_a)] *
                 b[static_cast<std::size_t>(matrix * s.b_batch + at_b)];
        }
        c.push_back(sum);
      }
    }
  }
  return c;
}

constexpr std::array layouts{Layout::nn, Layout::nt, Layout::tn, Layout::tt};

TEST(LibraryMatmul, EveryLayoutIsTheProductThatItNames) {
  const StandInLibrary library;
  const auto home = library.open();
  for (const Layout layout : layouts) {
    for (const Op op : {Op::mm, Op::addmm, Op::bmm, Op::baddbmm}) {
      const GemmProblem problem = problem_of(layout, op);
      const OperandStrides strides = strides_of(problem);
      const auto product = std::make_shared<LibraryProduct>(home, problem, strides, 0);
      const LibraryKernel kernel(product, product->algorithms(0, 1).at(0));
      const auto a = numbers(problem.batch * strides.a_batch, 3);
      const auto b = numbers(problem.batch * strides.b_batch, 7);
      const bool biased = op == Op::addmm || op == Op::baddbmm;
      const auto bias = numbers(biased ? problem.n : 0, 5);
      std::vector<float> c(static_cast<std::size_t>(problem.batch * problem.m * problem.n), 99);
      std::vector<Address> addresses{address_of(a.data()), address_of(b.data()), address_of(c.data())};
      if (biased) addresses.push_back(address_of(bias.data()));
      kernel.enqueue(nullptr, addresses);
      EXPECT_EQ(c, expected(problem, strides, a, b, bias)) << to_string(problem);
    }
  }
}

TEST(LibraryMatmul, LayoutsAreDescribedColumnByColumn) {
  const StandInLibrary library;
  const auto home = library.open();
  const auto told = [&](Layout layout) {
    const GemmProblem problem = problem_of(layout);
    LibraryProduct(home, problem, strides_of(problem), 0).algorithms(0, 1);
    return library.product();
  };
  EXPECT_EQ(told(Layout::nn), "NN compute 68 epilogue 1 sms 0 0:7x3/8 0:3x5/5 0:7x5/7");
  EXPECT_EQ(told(Layout::nt), "TN compute 68 epilogue 1 sms 0 0:3x7/4 0:3x5/5 0:7x5/7");
  EXPECT_EQ(told(Layout::tn), "NT compute 68 epilogue 1 sms 0 0:7x3/8 0:5x3/7 0:7x5/7");
  EXPECT_EQ(told(Layout::tt), "TT compute 68 epilogue 1 sms 0 0:3x7/4 0:5x3/7 0:7x5/7");
}

TEST(LibraryMatmul, PrecisionEpilogueBatchAndSmsAreTold) {
  const StandInLibrary library;
  const auto home = library.open();
  const auto told = [&](const GemmProblem& problem, int sms = 0) {
    LibraryProduct(home, problem, strides_of(problem), sms).algorithms(4096, 1);
    return library.product();
  };
  GemmProblem problem = problem_of(Layout::nn, Op::baddbmm);
  problem.precision = Precision::tf32;
  problem.epilogue = Epilogue::gelu_tanh;
  EXPECT_EQ(told(problem, 16), "NN compute 77 epilogue 36 sms 16 0:7x3/8*2+29 0:3x5/5*2+29 0:7x5/7*2+35");
  problem = problem_of(Layout::nt);
  problem.a_dtype = problem.b_dtype = DType::int8;
  problem.op = Op::int_mm;
  problem.out_dtype = DType::int32;
  EXPECT_EQ(told(problem), "TN compute 72 epilogue 1 sms 0 3:3x7/4 3:3x5/5 10:7x5/7");
  problem = problem_of(Layout::nn);
  problem.a_dtype = problem.b_dtype = problem.out_dtype = DType::float16;
  problem.alignment = 4;
  problem.epilogue = Epilogue::bias_relu;
  EXPECT_EQ(told(problem), "NN compute 68 epilogue 6 sms 0 2:7x3/8 2:3x5/5 2:7x5/7");
  EXPECT_EQ(library.preference(), "4096 3:2 5:8 6:8 7:16 8:16");
}

TEST(LibraryMatmul, ScalesAndActivationsEndTheProduct) {
  const StandInLibrary library;
  GemmProblem problem{.op = Op::scaled_mm, .m = 1, .n = 2, .k = 2, .layout = Layout::nt, .alignment = 1};
  problem.a_dtype = problem.b_dtype = DType::float8_e4m3fn;
  problem.out_dtype = DType::float32;
  problem.epilogue = Epilogue::relu;
  const auto product = std::make_shared<LibraryProduct>(library.open(), problem, OperandStrides{2, 2, 0, 0}, 0);
  const LibraryKernel kernel(product, product->algorithms(0, 1).at(0));
  EXPECT_EQ(kernel.operands(), (std::vector<std::string>{"a", "b", "c", "scale_a", "scale_b"}));
  constexpr unsigned char one = 0x38, minus_two = 0xC0;
  const unsigned char a[] = {one, one};
  const unsigned char b[] = {one, one, minus_two, one};
  const float scale_a = 3, scale_b = 0.5;
  float c[] = {99, 99};
  kernel.enqueue(nullptr,
                 std::array{address_of(a), address_of(b), address_of(c), address_of(&scale_a), address_of(&scale_b)});
  EXPECT_EQ(c[0], 3);
  EXPECT_EQ(c[1], 0);
}

TEST(LibraryMatmul, AlgorithmsSayWhatTheyAreAndRunAgain) {
  const StandInLibrary library("algorithms=5;driver=" FAKE_LIBCUDA);
  const auto home = library.open();
  const GemmProblem problem = problem_of(Layout::nn);
  const auto product = std::make_shared<LibraryProduct>(home, problem, strides_of(problem), 0);
  const auto found = product->algorithms(2048, 8);
  ASSERT_EQ(found.size(), 3U);  // the others need more workspace
  EXPECT_EQ(product->algorithms(1 << 20, 2).size(), 2U);
  EXPECT_EQ(found[2].words, "000000000000000300000000000000a1000000000001fc34" + std::string(80, '0'));
  EXPECT_EQ(to_string(found[2]), "cublaslt 3 tile 17 stages 7 split_k 3");
  EXPECT_EQ(found[2].workspace_bytes, 2048);
  EXPECT_EQ(found[2].reduction, 2);
  const LibraryKernel kernel(product, found[2]);
  EXPECT_EQ(kernel.operands().back(), "parts");
  const auto a = numbers(100, 3), b = numbers(100, 5);
  std::vector<float> c(35);
  const char parts[2048] = {};
  const std::array addresses{address_of(a.data()), address_of(b.data()), address_of(c.data()), address_of(parts)};
  kernel.enqueue(reinterpret_cast<cuda::Stream>(0), addresses);
  const auto where = [](Address address) { return " " + std::to_string(address); };
  EXPECT_EQ(library.driver().launched(0),
            "cublaslt_3 1 1 1 128 0 0 1" + where(addresses[0]) + where(addresses[1]) + where(addresses[2]) + " 5 7 3");
  const auto few = [&] { kernel.enqueue(nullptr, std::span(addresses).first(3)); };
  expect_says(sentence_of<std::invalid_argument>(few), "takes 4 addresses, got 3");
}

TEST(LibraryMatmul, AnAlgorithmOfAnotherVersionIsRefused) {
  const GemmProblem problem = problem_of(Layout::nn);
  LibraryAlgorithm old;
  {
    const StandInLibrary library("version=120805");
    EXPECT_EQ(library.open()->library.version(), 120805U);
    old = LibraryProduct(library.open(), problem, strides_of(problem), 0).algorithms(0, 1).at(0);
  }
  const StandInLibrary library;
  const auto product = std::make_shared<LibraryProduct>(library.open(), problem, strides_of(problem), 0);
  const auto use = [&] { LibraryKernel(product, old); };
  expect_says(sentence_of<std::invalid_argument>(use), "cuBLASLt 130100 does not run this algorithm");
  old.words = "a1";
  expect_says(sentence_of<std::invalid_argument>(use), "must be 128 hexadecimal digits, got 'a1'");
}

TEST(LibraryMatmul, WhatOneCallCannotComputeIsNamed) {
  GemmProblem problem = problem_of(Layout::nn);
  EXPECT_FALSE(why_library_lacks(problem));
  problem.epilogue = Epilogue::bias_silu;
  expect_says(*why_library_lacks(problem), "it has no bias+silu");
  problem.epilogue = Epilogue::gelu;  // the library's is the tanh one
  EXPECT_TRUE(why_library_lacks(problem));
  problem.epilogue = Epilogue::none;
  problem.op = Op::mm_plus_mm;
  expect_says(*why_library_lacks(problem), "the sum of two products");
  GemmProblem integers = problem_of(Layout::nt, Op::int_mm);
  integers.a_dtype = integers.b_dtype = DType::int8;
  integers.out_dtype = DType::int32;
  EXPECT_FALSE(why_library_lacks(integers));
  integers.epilogue = Epilogue::relu;
  expect_says(*why_library_lacks(integers), "it gives the sums, as int32");
  const StandInLibrary library;
  const auto made = [&] { LibraryProduct(library.open(), problem, {}, 0); };
  expect_says(sentence_of<std::invalid_argument>(made), "the sum of two products");
}

TEST(LibraryMatmul, NothingForAProblemIsNoError) {
  const StandInLibrary library("aligned=1");
  const GemmProblem problem = problem_of(Layout::nn);
  EXPECT_TRUE(LibraryProduct(library.open(), problem, strides_of(problem), 0).algorithms(0, 8).empty());
}

TEST(LibraryMatmul, FailuresNameTheCall) {
  const GemmProblem problem = problem_of(Layout::nn);
  const StandInLibrary library("fault.cublasLtMatmul=14");
  const auto product = std::make_shared<LibraryProduct>(library.open(), problem, strides_of(problem), 0);
  const LibraryKernel kernel(product, product->algorithms(0, 1).at(0));
  const auto enqueue = [&] { kernel.enqueue(nullptr, std::array<Address, 3>{16, 32, 48}); };
  EXPECT_EQ(sentence_of<LibraryError>(enqueue), "cublasLtMatmul failed with CUBLAS_STATUS_INTERNAL_ERROR");
  const auto open = [] { CublasLt("/nowhere/libcublasLt.so.13"); };
  expect_says(sentence_of<LibraryError>(open), "/nowhere/libcublasLt.so.13 could not be opened");
  const auto other = [] { CublasLt(FAKE_LIBCUDA); };
  expect_says(sentence_of<LibraryError>(other), "lacks cublasLtGetVersion");
}

}  // namespace
}  // namespace gemm_tuner::testing
