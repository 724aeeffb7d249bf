#include <gtest/gtest.h>

#include <string>

#include "model/legality.hpp"
#include "round_device.hpp"

namespace gemm_tuner {
namespace {

DeviceSpec device_of(int compute_capability, int smem_per_block_optin_bytes) {
  DeviceSpec d = round_device();
  d.compute_capability = compute_capability;
  d.smem_per_sm_bytes = smem_per_block_optin_bytes + 1024;
  d.smem_per_block_optin_bytes = smem_per_block_optin_bytes;
  return d;
}

void expect_refused(Refusal code, const std::string& sentence, const GemmProblem& p, const GemmConfig& c,
                    const DeviceSpec& d) {
  EXPECT_EQ(refusal(p, c, d), code) << sentence;
  EXPECT_EQ(why_illegal(p, c, d).value_or("legal"), sentence);
}

void expect_legal(const GemmProblem& p, const GemmConfig& c, const DeviceSpec& d) {
  EXPECT_EQ(why_illegal(p, c, d).value_or("legal"), "legal");
  EXPECT_EQ(refusal(p, c, d), Refusal::none);
}

TEST(Legality, DtypesNeedTheirArchitecture) {
  const GemmConfig c = config_of(64, 64, 32);
  const GemmProblem brain = problem_of(512, 512, 512, DType::bfloat16);
  const GemmProblem eight = problem_of(512, 512, 512, DType::float8_e5m2);
  expect_refused(Refusal::dtype, "bfloat16 needs compute capability 80 and a device of round numbers has 75", brain, c,
                 device_of(75, 65536));
  expect_legal(brain, c, device_of(80, 166912));
  expect_refused(Refusal::dtype, "float8_e5m2 needs compute capability 89 and a device of round numbers has 86", eight,
                 c, device_of(86, 101376));
  expect_legal(eight, c, device_of(89, 101376));
  expect_legal(problem_of(512, 512, 512), c, device_of(75, 65536));
}

TEST(Legality, BlocksOfKHoldAnInstructionsDepth) {
  expect_refused(Refusal::block_k, "block_k must be at least 32 for int8, got 16",
                 problem_of(512, 512, 512, DType::int8), config_of(64, 64, 16), round_device());
  expect_legal(problem_of(512, 512, 512, DType::int8), config_of(64, 64, 32), round_device());
  expect_legal(problem_of(512, 512, 512), config_of(64, 64, 16), round_device());
}

TEST(Legality, Int8NeedsTensorCoresThatTritonCanUse) {
  expect_refused(Refusal::dtype, "int8 needs compute capability 80 and a device of round numbers has 75",
                 problem_of(512, 512, 512, DType::int8), config_of(64, 64, 32), device_of(75, 65536));
}

TEST(Legality, AWarpGroupsInstructionNeedsItsRegisters) {
  // 64 rows x 256 columns over 128 threads are 128 registers, and 26 beside them; 512 threads have 65536 / 512 = 128
  expect_refused(Refusal::registers, "a thread's part of the tile needs 154 registers, and with 16 warps it has 128",
                 problem_of(512, 512, 512), config_of(256, 256, 64, 16, 2), device_of(90, 232448));
  expect_legal(problem_of(512, 512, 512), config_of(256, 256, 64, 8, 2), device_of(90, 232448));
  expect_legal(problem_of(512, 512, 512), config_of(256, 256, 64, 16, 2), device_of(80, 166912));
}

TEST(Legality, ACtaHasAtMost1024Threads) {
  expect_refused(Refusal::threads, "a CTA has at most 1024 threads, got 64 warps", problem_of(512, 512, 512),
                 config_of(64, 64, 32, 64), round_device());
  expect_legal(problem_of(512, 512, 512), config_of(128, 128, 32, 32), round_device());
}

TEST(Legality, APartOfKMustHaveWork) {
  expect_refused(Refusal::split, "k=95 leaves parts of split_k=4 without work at block_k=32", problem_of(64, 64, 95),
                 config_of(64, 64, 32, 4, 3, 4), round_device());
  expect_legal(problem_of(64, 64, 128), config_of(64, 64, 32, 4, 3, 4), round_device());
}

TEST(Legality, ASumOfTwoProductsLoopsMoreThanOnceAndInOnePart) {
  GemmProblem p = problem_of(64, 64, 128);
  p.op = Op::mm_plus_mm;
  expect_legal(p, config_of(64, 64, 64), round_device());
  expect_refused(Refusal::single_block,
                 "block_k must be below k in mm_plus_mm, got block_k=128 for k=128; Inductor leaves such configs out",
                 p, config_of(64, 64, 128, 4, 2), round_device());
  expect_refused(Refusal::no_kernel, "mm_plus_mm has a kernel of family tiled alone, got split_k", p,
                 config_of(64, 64, 32, 4, 3, 2), round_device());
  p.op = Op::mm;
  expect_legal(p, config_of(64, 64, 128, 4, 2), round_device());
  expect_legal(p, config_of(64, 64, 32, 4, 3, 2), round_device());
}

TEST(Legality, ABatchHasToFitInTheGrid) {
  GemmProblem p = problem_of(64, 64, 128);
  p.op = Op::bmm;
  p.batch = 65535;
  expect_legal(p, config_of(64, 64, 32), round_device());
  p.batch = 65536;
  expect_refused(Refusal::batch, "a grid has room for 65535 matrices, got batch=65536", p, config_of(64, 64, 32),
                 round_device());
  GemmConfig dealt = config_of(64, 64, 32);
  dealt.family = Family::persistent;
  dealt.ctas = 28;
  expect_legal(p, dealt, round_device());
}

TEST(Legality, SharedMemoryIsWhatTheArchitectureAllows) {
  // a tile of A and one of B: (128 + 128) * 64 * 2 = 32768 bytes, once per stage but one
  const GemmProblem p = problem_of(512, 512, 512);
  expect_legal(p, config_of(128, 128, 64, 8, 4), device_of(86, 101376));
  expect_refused(Refusal::memory,
                 "it needs 131072 bytes of shared memory and a CTA may have 101376 on a device of round numbers", p,
                 config_of(128, 128, 64, 8, 5), device_of(86, 101376));
  expect_legal(p, config_of(128, 128, 64, 8, 5), device_of(80, 131072));
  expect_refused(Refusal::memory,
                 "it needs 131072 bytes of shared memory and a CTA may have 131071 on a device of round numbers", p,
                 config_of(128, 128, 64, 8, 5), device_of(80, 131071));
  // wgmma holds one tile more
  expect_refused(Refusal::memory,
                 "it needs 131072 bytes of shared memory and a CTA may have 101376 on a device of round numbers", p,
                 config_of(128, 128, 64, 8, 4), device_of(90, 101376));
}

}  // namespace
}  // namespace gemm_tuner
