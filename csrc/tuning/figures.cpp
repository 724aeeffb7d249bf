#include "tuning/figures.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <utility>

#include "device/architecture.hpp"
#include "model/constants.hpp"
#include "tuning/spread.hpp"

namespace gemm_tuner {
namespace {

constexpr double allowed_spread = 0.1;
constexpr double tolerance = 1.02;              // of peaks: timers have a resolution, and clocks are rounded
constexpr double most_of_reported_clock = 1.5;  // GeForce boards boost up to a quarter above the clock they report
constexpr double least_of_reported_clock = 0.1;
constexpr double l1_bytes_per_clk = 128;  // of one SM, the widest path there is (CUDA C++ Best Practices Guide)

constexpr std::array<std::pair<const char*, double FmaRates::*>, 5> tensor_rates{{{"fp16", &FmaRates::fp16},
                                                                                  {"bf16", &FmaRates::bf16},
                                                                                  {"tf32", &FmaRates::tf32},
                                                                                  {"fp8", &FmaRates::fp8},
                                                                                  {"int8", &FmaRates::int8}}};

/// All the CTAs of an SM as one; of spans that say something.
std::vector<Span> by_sm(const std::vector<Span>& spans) {
  std::map<std::uint64_t, Span> sms;
  for (const Span& span : spans) {
    if (span.stop_clk <= span.start_clk || span.stop_ns <= span.start_ns || span.work == 0) {
      throw CalibrationError("a CTA of a probe left no time behind: it did not run, or the GPU's timer stood still");
    }
    const auto [found, is_first] = sms.try_emplace(span.sm, span);
    if (is_first) continue;
    Span& sm = found->second;
    sm.start_clk = std::min(sm.start_clk, span.start_clk);
    sm.stop_clk = std::max(sm.stop_clk, span.stop_clk);
    sm.start_ns = std::min(sm.start_ns, span.start_ns);
    sm.stop_ns = std::max(sm.stop_ns, span.stop_ns);
    sm.work += span.work;
  }
  std::vector<Span> result;
  for (const auto& [sm, span] : sms) result.push_back(span);
  return result;
}

double clocks(const Span& span) { return static_cast<double>(span.stop_clk - span.start_clk); }

template <class Of>
double median_of(const std::vector<Span>& spans, Of of) {
  std::vector<double> values;
  for (const Span& span : spans) values.push_back(of(span));
  if (values.empty()) throw CalibrationError("no CTA of a probe left anything behind");
  return median(values);
}

std::string text(double number) {
  std::array<char, 32> digits{};
  std::snprintf(digits.data(), digits.size(), "%.4g", number);
  return digits.data();
}

std::string joined(const std::vector<std::string>& parts, const std::string& between) {
  std::string all;
  for (const std::string& part : parts) all += (all.empty() ? "" : between) + part;
  return all;
}

bool is_estimated(const DeviceSpec& spec, std::string_view field) {
  return std::find(spec.estimated.begin(), spec.estimated.end(), field) != spec.estimated.end();
}

/// The architecture's full rates; all 0 where it is not known.
FmaRates full_rates(int compute_capability) {
  try {
    return architecture(compute_capability).fma;
  } catch (const std::invalid_argument&) {
    return {};
  }
}

/// Collects what is wrong.
struct Judge {
  const Figures& figures;
  std::vector<std::string> faults{};
  std::vector<std::string> unsteady{};

  /// 0 where it was not measured, or makes no sense whatever the device: both are faults.
  double sound(const std::string& name) {
    const auto found = figures.find(name);
    if (found == figures.end()) {
      faults.push_back(name + " was not measured");
      return 0;
    }
    const auto [value, spread] = found->second;
    if (!std::isfinite(value) || value <= 0) {
      faults.push_back(name + " came out as " + text(value));
      return 0;
    }
    if (!(spread <= allowed_spread)) unsteady.push_back(name + " (" + text(100 * spread) + " %)");
    return value;
  }
  void at_most(const std::string& name, double value, double most, const std::string& what) {
    if (most > 0 && value > most * tolerance) {
      faults.push_back(name + " came out as " + text(value) + ", above the " + text(most) + " that " + what);
    }
  }
  void at_least(const std::string& name, double value, double least, const std::string& what) {
    if (value > 0 && value * tolerance < least) {
      faults.push_back(name + " came out as " + text(value) + ", below the " + text(least) + " that " + what);
    }
  }
};

}  // namespace

double clock_mhz_of(const std::vector<Span>& spans) {
  return median_of(by_sm(spans),
                   [](const Span& sm) { return 1e3 * clocks(sm) / static_cast<double>(sm.stop_ns - sm.start_ns); });
}

double work_per_clk_of(const std::vector<Span>& spans) {
  return median_of(by_sm(spans), [](const Span& sm) { return static_cast<double>(sm.work) / clocks(sm); });
}

double clk_per_work_of(const std::vector<Span>& spans) {
  by_sm(spans);  // for its complaint
  return median_of(spans, [](const Span& cta) { return clocks(cta) / static_cast<double>(cta.work); });
}

Figure figure_of(const std::vector<double>& samples) {
  if (samples.empty()) throw CalibrationError("a probe gave no sample at all");
  const double middle = median(samples);
  return {middle, robust_deviation(samples) / middle};
}

Figures figures_of(const Samples& samples, int sms) {
  Figures figures;
  for (const auto& [name, values] : samples) figures[name] = figure_of(values);
  const auto l2 = figures.find("l2_read_gbs");
  const auto clock = figures.find("clock_mhz");
  if (l2 != figures.end() && clock != figures.end()) {
    figures["l2_bytes_per_clk_per_sm"] = {1e3 * l2->second.value / (clock->second.value * sms), l2->second.spread};
  }
  return figures;
}

bool mma_sync_is_the_full_rate(int compute_capability) { return compute_capability < 90 || compute_capability >= 120; }

std::vector<std::string> faults_of(const Figures& figures, const DeviceSpec& asked) {
  Judge judge{figures};
  const double read = judge.sound("dram_read_gbs");
  const double copy = judge.sound("dram_copy_gbs");
  if (!is_estimated(asked, "bandwidth_gbs")) {
    judge.at_most("dram_read_gbs", read, asked.bandwidth_gbs, "the memory's clock and width allow");
    judge.at_most("dram_copy_gbs", copy, asked.bandwidth_gbs, "the memory's clock and width allow");
  }
  judge.at_least("l2_read_gbs", judge.sound("l2_read_gbs"), read, "DRAM gives");
  judge.at_most("l2_bytes_per_clk_per_sm", judge.sound("l2_bytes_per_clk_per_sm"), l1_bytes_per_clk,
                "one SM can load from anywhere");
  for (const char* name : {"l2_latency_clk", "launch_us", "next_launch_us"}) judge.sound(name);

  const double clock = judge.sound("clock_mhz");
  if (!is_estimated(asked, "clock_mhz")) {
    judge.at_most("clock_mhz", clock, asked.clock_mhz * most_of_reported_clock,
                  "can be of a GPU that reports " + std::to_string(asked.clock_mhz));
    judge.at_least("clock_mhz", clock, asked.clock_mhz * least_of_reported_clock,
                   "can be of a GPU that reports " + std::to_string(asked.clock_mhz));
  }
  judge.at_most("sustained_clock_mhz", judge.sound("sustained_clock_mhz"), clock,
                "idle tensor cores let it have: it was still rising");

  const FmaRates full = full_rates(asked.compute_capability);
  for (const auto& [dtype, rate] : tensor_rates) {
    const std::string name = std::string(fma_prefix) + dtype;
    if (!figures.contains(name)) continue;
    const double measured = judge.sound(name);
    if (full.*rate > 0) judge.at_most(name, measured, full.*rate, "the architecture has");
  }
  if (!judge.unsteady.empty()) {
    judge.faults.push_back(joined(judge.unsteady, ", ") + " varied from run to run by more than " +
                           text(100 * allowed_spread) + " %");
  }
  return judge.faults;
}

DeviceSpec calibrated(const DeviceSpec& asked, const Figures& figures) {
  const std::vector<std::string> faults = faults_of(figures, asked);
  if (!faults.empty()) {
    throw CalibrationError(asked.name + " was not calibrated: " + joined(faults, "; ") +
                           ". Is something else running on it? Try again when nothing is.");
  }
  const ModelConstants model;
  const auto value = [&](const std::string& name) { return figures.at(name).value; };
  DeviceSpec spec = asked;
  const double clock = value("clock_mhz");
  spec.clock_mhz = static_cast<int>(std::lround(clock));
  spec.bandwidth_gbs = value("dram_read_gbs") / model.dram_efficiency;
  std::vector<std::string> known{"clock_mhz", "bandwidth_gbs"};
  if (mma_sync_is_the_full_rate(asked.compute_capability)) {
    for (const auto& [dtype, rate] : tensor_rates) {
      const std::string name = std::string(fma_prefix) + dtype;
      if (figures.contains(name)) spec.fma.*rate = value(name) / model.tensor_efficiency;
    }
    spec.sustained_fraction = std::min(1.0, value("sustained_clock_mhz") / clock);
    known.emplace_back("sustained_fraction");
  } else {  // the rate that is sustained stays what it was, as a fraction of the peak at another clock
    spec.sustained_fraction = std::min(1.0, asked.sustained_fraction * asked.clock_mhz / clock);
  }
  std::erase_if(spec.estimated,
                [&](const std::string& field) { return std::find(known.begin(), known.end(), field) != known.end(); });
  spec.source = "calibrated";
  validate(spec);
  return spec;
}

}  // namespace gemm_tuner
