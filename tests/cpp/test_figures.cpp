#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "stand_in.hpp"
#include "tuning/figures.hpp"

namespace gemm_tuner::testing {
namespace {

/// 1000 clocks in a microsecond on that SM, from `start_clk` on.
Span span(std::uint64_t sm, std::uint64_t start_clk, std::uint64_t work) {
  return {start_clk, start_clk + 1000, start_clk, start_clk + 1000, sm, work, 0};
}

DeviceSpec rtx_3060() {
  DeviceSpec spec;
  spec.name = "NVIDIA GeForce RTX 3060";
  spec.compute_capability = 86;
  spec.sm_count = spec.available_sms = 28;
  spec.clock_mhz = 1777;
  spec.bandwidth_gbs = 360;
  spec.l2_bytes = 3 << 20;
  spec.smem_per_sm_bytes = 100 << 10;
  spec.smem_per_block_optin_bytes = 99 << 10;
  spec.max_threads_per_sm = 1536;
  spec.max_ctas_per_sm = 16;
  spec.fma = {.fp16 = 256, .bf16 = 256, .tf32 = 128, .fp8 = 0, .int8 = 1024, .fp32 = 128};
  spec.source = "driver";
  spec.estimated = {"sustained_fraction"};
  return spec;
}

Figures plausible() {
  return {{"dram_read_gbs", {333, 0.01}},       {"dram_copy_gbs", {315, 0.01}},
          {"l2_read_gbs", {1300, 0.01}},        {"l2_bytes_per_clk_per_sm", {24.5, 0.01}},
          {"l2_latency_clk", {240, 0.01}},      {"clock_mhz", {1900, 0}},
          {"sustained_clock_mhz", {1710, 0}},   {"launch_us", {5, 0.02}},
          {"next_launch_us", {2, 0.02}},        {"fma_per_clk_per_sm_fp16", {252, 0}},
          {"fma_per_clk_per_sm_bf16", {252, 0}}};
}

Figures but(const std::string& name, Figure figure) {
  Figures figures = plausible();
  figures[name] = figure;
  return figures;
}

TEST(Figures, AreMediansWithTheirRobustDeviation) {
  EXPECT_EQ(figure_of({5, 1, 3, 2, 4}), (Figure{3, 1.4826 / 3}));
  EXPECT_EQ(figure_of({7}), (Figure{7, 0}));
  expect_says(sentence_of<CalibrationError>([] { figure_of({}); }), "no sample");
}

TEST(Figures, OneWildRunDoesNotCount) {
  const Figure figure = figure_of({100, 101, 99, 100, 900, 100, 101, 99, 100});
  EXPECT_EQ(figure.value, 100);
  EXPECT_LT(figure.spread, 0.02);
}

TEST(Spans, OfOneSmAreTakenTogether) {
  // two CTAs side by side on SM 0, two one after the other on SM 2: each did twice the work of one, in one and two
  // spans
  EXPECT_EQ(work_per_clk_of({span(0, 0, 500), span(0, 0, 500)}), 1);
  EXPECT_EQ(work_per_clk_of({span(2, 0, 500), span(2, 1000, 500)}), 0.5);
  EXPECT_EQ(work_per_clk_of({span(0, 0, 500), span(0, 0, 500), span(2, 0, 500), span(2, 1000, 500)}), 0.75);
}

TEST(Spans, ClocksOfDifferentSmsAreNeverCompared) {
  EXPECT_EQ(work_per_clk_of({span(0, 0, 500), span(1, 1'000'000, 500)}), 0.5);
  EXPECT_EQ(clock_mhz_of({span(0, 0, 1), span(1, 1'000'000, 1)}), 1000);
}

TEST(Spans, ALatencyIsThatOfEachCtaAlone) {
  EXPECT_EQ(clk_per_work_of({span(0, 0, 5), span(0, 0, 5)}), 200);
  EXPECT_EQ(clk_per_work_of({span(0, 0, 2), span(1, 0, 4), span(2, 0, 5)}), 250);
}

TEST(Spans, ThatSayNothingAreRefused) {
  const Span whole = span(0, 0, 1);
  Span backwards = whole, timeless = whole, idle = whole;
  backwards.stop_clk = 0;
  timeless.stop_ns = timeless.start_ns;
  idle.work = 0;
  for (const Span& silly : {Span{}, backwards, timeless, idle}) {
    for (const auto of : {clock_mhz_of, work_per_clk_of, clk_per_work_of}) {
      expect_says(sentence_of<CalibrationError>([&] { of({whole, silly}); }), "left no time behind");
    }
  }
}

TEST(Figures, L2BytesAClockFollowFromTheOthers) {
  const Figures figures = figures_of({{"l2_read_gbs", {1120, 1120, 1120}}, {"clock_mhz", {2000}}}, 28);
  EXPECT_DOUBLE_EQ(figures.at("l2_bytes_per_clk_per_sm").value, 20);
  EXPECT_FALSE(figures_of({{"l2_read_gbs", {1120}}}, 28).contains("l2_bytes_per_clk_per_sm"));
}

TEST(Calibrated, TheModelsProductsAreWhatWasMeasured) {
  const DeviceSpec spec = calibrated(rtx_3060(), plausible());
  EXPECT_DOUBLE_EQ(spec.bandwidth_gbs * 0.9, 333);  // dram_efficiency
  EXPECT_DOUBLE_EQ(spec.fma.fp16 * 0.99, 252);      // tensor_efficiency
  EXPECT_EQ(spec.clock_mhz, 1900);
  EXPECT_DOUBLE_EQ(spec.sustained_fraction, 0.9);
  EXPECT_EQ(spec.source, "calibrated");
  EXPECT_TRUE(spec.estimated.empty());
}

TEST(Calibrated, WhatWasNotMeasuredStays) {
  DeviceSpec asked = rtx_3060();
  asked.estimated = {"clock_mhz", "l2_bytes", "sustained_fraction"};
  DeviceSpec spec = calibrated(asked, plausible());
  EXPECT_EQ(spec.fma.int8, 1024);
  EXPECT_EQ(spec.fma.fp32, 128);
  EXPECT_EQ(spec.estimated, std::vector<std::string>{"l2_bytes"});
  for (const auto member : {&DeviceSpec::sm_count, &DeviceSpec::available_sms, &DeviceSpec::smem_per_sm_bytes}) {
    EXPECT_EQ(spec.*member, asked.*member);
  }
}

TEST(Calibrated, WhereMmaSyncIsNotTheFullRateTensorCoresStayAsTheyWere) {
  DeviceSpec asked = rtx_3060();
  asked.compute_capability = 90;
  asked.clock_mhz = 1980;
  asked.sustained_fraction = 0.76;
  asked.fma.fp16 = 2048;
  const DeviceSpec spec = calibrated(asked, but("fma_per_clk_per_sm_fp16", {1270, 0}));
  EXPECT_EQ(spec.fma, asked.fma);
  EXPECT_DOUBLE_EQ(spec.sustained_fraction * spec.clock_mhz, 0.76 * 1980);
  EXPECT_EQ(spec.estimated, asked.estimated);
  for (const int capability : {75, 80, 86, 87, 89, 120, 121}) EXPECT_TRUE(mma_sync_is_the_full_rate(capability));
  for (const int capability : {90, 100, 103, 110}) EXPECT_FALSE(mma_sync_is_the_full_rate(capability));
}

struct Silly {
  const char* name;
  Figure figure;
  const char* says;
};

class Refused : public ::testing::TestWithParam<Silly> {};

TEST_P(Refused, WithASentenceThatNamesTheFigure) {
  const auto& [name, figure, says] = GetParam();
  const auto sentence = sentence_of<CalibrationError>([&] { calibrated(rtx_3060(), but(name, figure)); });
  expect_says(sentence, "NVIDIA GeForce RTX 3060 was not calibrated: " + std::string(name));
  expect_says(sentence, says);
}

INSTANTIATE_TEST_SUITE_P(
    Figures, Refused,
    ::testing::Values(
        Silly{"dram_read_gbs", {370, 0}, "came out as 370, above the 360 that the memory's clock"},
        Silly{"dram_read_gbs", {333, 0.11}, "dram_read_gbs (11 %) varied from run to run by more than 10 %"},
        Silly{"dram_read_gbs", {333, std::nan("")}, "(nan %)"}, Silly{"dram_copy_gbs", {400, 0}, "above the 360"},
        Silly{"dram_copy_gbs", {std::numeric_limits<double>::infinity(), 0}, "came out as inf"},
        Silly{"l2_read_gbs", {300, 0}, "below the 333 that DRAM gives"},
        Silly{"l2_bytes_per_clk_per_sm", {140, 0}, "above the 128"}, Silly{"l2_latency_clk", {-3, 0}, "came out as -3"},
        Silly{"clock_mhz", {3000, 0}, "of a GPU that reports 1777"},
        Silly{"sustained_clock_mhz", {2100, 0}, "still rising"}, Silly{"launch_us", {0, 0}, "came out as 0"},
        Silly{"next_launch_us", {2, 0.5}, "(50 %)"},
        Silly{"fma_per_clk_per_sm_fp16", {600, 0}, "above the 512 that the architecture has"},
        Silly{"fma_per_clk_per_sm_bf16", {252, 0.2}, "(20 %)"}));

TEST(Calibrated, EveryFaultIsSaidAtOnce) {
  Figures figures = but("launch_us", {5, 0.3});
  figures["dram_read_gbs"] = {720, 0};
  figures.erase("l2_latency_clk");
  const auto sentence = sentence_of<CalibrationError>([&] { calibrated(rtx_3060(), figures); });
  for (const char* name : {"launch_us (30 %)", "dram_read_gbs came out as 720", "l2_latency_clk was not measured"}) {
    expect_says(sentence, name);
  }
}

TEST(Calibrated, AnEstimatedPeakIsNoMeasure) {
  DeviceSpec asked = rtx_3060();
  asked.bandwidth_gbs = 200;
  asked.clock_mhz = 900;
  asked.estimated = {"bandwidth_gbs", "clock_mhz"};
  EXPECT_DOUBLE_EQ(calibrated(asked, plausible()).bandwidth_gbs, 370);
}

}  // namespace
}  // namespace gemm_tuner::testing
