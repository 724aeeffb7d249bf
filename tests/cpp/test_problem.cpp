#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "gemm/problem.hpp"

namespace gemm_tuner {
namespace {

GemmProblem changed(const std::function<void(GemmProblem&)>& change) {
  GemmProblem problem;
  problem.m = 512;
  problem.n = 4096;
  problem.k = 1024;
  change(problem);
  return problem;
}

const auto nothing = [](GemmProblem&) {};

void expect_refused(const char* says, const std::function<void(GemmProblem&)>& change) {
  try {
    validate(changed(change));
    ADD_FAILURE() << "accepted, though: " << says;
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
  }
}

TEST(GemmProblem, SizesAreBetweenOneAndInt32) {
  EXPECT_NO_THROW(validate(changed(nothing)));
  EXPECT_NO_THROW(validate(changed([](GemmProblem& p) { p.m = max_dimension; })));
  expect_refused("m must be between 1 and 2147483647, got 0", [](GemmProblem& p) { p.m = 0; });
  expect_refused("n must be", [](GemmProblem& p) { p.n = -1; });
  expect_refused("k must be", [](GemmProblem& p) { p.k = max_dimension + 1; });
  expect_refused("batch must be", [](GemmProblem& p) { p.batch = 0; });
}

TEST(GemmProblem, OnlyBatchedOperationsHaveABatch) {
  expect_refused("op 'mm' has no batch", [](GemmProblem& p) { p.batch = 4; });
  EXPECT_NO_THROW(validate(changed([](GemmProblem& p) {
    p.op = Op::bmm;
    p.batch = 4;
  })));
}

TEST(GemmProblem, OnlyMmPlusMmIsASumOfProducts) {
  for (const auto& [op, name] : Names<Op>::all) EXPECT_EQ(product_count(op), op == Op::mm_plus_mm ? 2 : 1) << name;
  EXPECT_EQ(to_string(changed([](GemmProblem& p) { p.op = from_string<Op>("mm_plus_mm"); })),
            "mm_plus_mm 512x4096x1024 float16 nn align 16");
  expect_refused("op 'mm_plus_mm' has no batch", [](GemmProblem& p) {
    p.op = Op::mm_plus_mm;
    p.batch = 2;
  });
}

TEST(GemmProblem, EpiloguesSayInOrderWhatIsDone) {
  for (const auto& [epilogue, name] : Names<Epilogue>::all) {
    EXPECT_EQ(adds_residual(epilogue), name.find("residual") != std::string_view::npos) << name;
  }
  EXPECT_EQ(from_string<Epilogue>("bias+gelu_tanh+residual"), Epilogue::bias_gelu_tanh_residual);
  EXPECT_EQ(to_string(changed([](GemmProblem& p) { p.epilogue = Epilogue::residual; })),
            "mm 512x4096x1024 float16 nn align 16 +residual");
}

TEST(GemmProblem, DtypesMustGoTogether) {
  expect_refused("must share a dtype", [](GemmProblem& p) { p.b_dtype = DType::bfloat16; });
  expect_refused("int8 operands give an int32 result", [](GemmProblem& p) { p.a_dtype = p.b_dtype = DType::int8; });
  expect_refused("int8 operands give an int32 result", [](GemmProblem& p) { p.out_dtype = DType::int32; });
  expect_refused("precision tf32 is for float32", [](GemmProblem& p) { p.precision = Precision::tf32; });
  expect_refused("scaling row is for op scaled_mm, got mm", [](GemmProblem& p) { p.scaling = Scaling::row; });
  EXPECT_NO_THROW(validate(changed([](GemmProblem& p) {
    p.a_dtype = DType::float8_e4m3fn;
    p.b_dtype = DType::float8_e5m2;
    p.out_dtype = DType::bfloat16;
  })));
  EXPECT_NO_THROW(validate(changed([](GemmProblem& p) {
    p.op = Op::int_mm;
    p.a_dtype = p.b_dtype = DType::int8;
    p.out_dtype = DType::int32;
  })));
}

TEST(GemmProblem, ScaledIntegersAreFloating) {
  const auto scaled_to = [](DType out) {
    return [out](GemmProblem& p) {
      p.op = Op::scaled_mm;
      p.scaling = Scaling::row;
      p.a_dtype = p.b_dtype = DType::int8;
      p.out_dtype = out;
    };
  };
  EXPECT_NO_THROW(validate(changed(scaled_to(DType::bfloat16))));
  EXPECT_EQ(to_string(changed(scaled_to(DType::float16))),
            "scaled_mm 512x4096x1024 int8->float16 row-scaled nn align 16");
  expect_refused("give a floating result, got int8 -> int32", scaled_to(DType::int32));
}

TEST(GemmProblem, AlignmentIsAPowerOfTwoUpToSixteen) {
  for (const int alignment : {0, 3, 32, -1}) {
    expect_refused("alignment must be", [&](GemmProblem& p) { p.alignment = alignment; });
  }
}

TEST(GemmProblem, AlignmentOfContiguousOperandsFollowsTheLayout) {
  // row pitches: nn k and n, nt k and k, tn m and n, tt m and k
  EXPECT_EQ(contiguous_alignment(512, 6, 12, Layout::nn), 2);
  EXPECT_EQ(contiguous_alignment(512, 6, 12, Layout::nt), 4);
  EXPECT_EQ(contiguous_alignment(7, 6, 12, Layout::tn), 1);
  EXPECT_EQ(contiguous_alignment(512, 6, 1024, Layout::tt), 16);
}

TEST(GemmProblem, IsWrittenInOneLine) {
  EXPECT_EQ(to_string(changed(nothing)), "mm 512x4096x1024 float16 nn align 16");
  EXPECT_EQ(to_string(changed([](GemmProblem& p) {
              p.op = Op::baddbmm;
              p.batch = 3;
              p.a_dtype = p.b_dtype = p.out_dtype = DType::float32;
              p.precision = Precision::tf32;
              p.layout = Layout::tn;
              p.epilogue = Epilogue::bias_gelu;
            })),
            "baddbmm 3x512x4096x1024 float32 tf32 tn align 16 +bias+gelu");
}

TEST(GemmProblem, EveryFieldCountsInEqualityAndHash) {
  const std::function<void(GemmProblem&)> changes[] = {[](GemmProblem& p) { p.op = Op::addmm; },
                                                       [](GemmProblem& p) { p.m = 1; },
                                                       [](GemmProblem& p) { p.n = 1; },
                                                       [](GemmProblem& p) { p.k = 1; },
                                                       [](GemmProblem& p) { p.batch = 2; },
                                                       [](GemmProblem& p) { p.a_dtype = DType::float32; },
                                                       [](GemmProblem& p) { p.b_dtype = DType::float32; },
                                                       [](GemmProblem& p) { p.out_dtype = DType::float32; },
                                                       [](GemmProblem& p) { p.scaling = Scaling::row; },
                                                       [](GemmProblem& p) { p.precision = Precision::tf32; },
                                                       [](GemmProblem& p) { p.layout = Layout::tt; },
                                                       [](GemmProblem& p) { p.alignment = 8; },
                                                       [](GemmProblem& p) { p.epilogue = Epilogue::relu; }};
  for (const auto& change : changes) {
    EXPECT_NE(changed(change), changed(nothing));
    EXPECT_NE(hash_value(changed(change)), hash_value(changed(nothing)));
  }
}

}  // namespace
}  // namespace gemm_tuner
