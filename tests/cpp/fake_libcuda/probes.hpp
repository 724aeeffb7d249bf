// What the stand-in libcuda answers where our own probes are launched: a test double's answers, no measurement. They
// are those of an RTX 3060 as one could be, unless told otherwise, "key=value" as in fake_libcuda.cpp:
//   reachable_sms=             how many SMs a launch gets; unset: all
//   lost_marks=0               CTAs of the SM probe whose mark goes missing
//   probe.read=336             GB/s of DRAM; probe.read_l2=1340 of what L2 holds; probe.copy=320, read and written
//   probe.chase=240            clocks from one dependent load to the next
//   probe.clock=1890           MHz while it chases; probe.clock_busy=1800 while tensor cores are busy
//   probe.multiply_fp16=253    multiply-adds per clock of an SM; likewise bf16, tf32, int8, fp8
//   probe.nothing=2.2          us that an empty kernel takes
//   probe.noise=0              relative; runs differ from each other by about so much
//   probe.stuck=0              1: no CTA writes its clocks
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace probes {

struct ProbeLaunch {
  std::string entry;
  unsigned grid;
  void** arguments;
  double now_us;
  int sms;
  long long l2_bytes;
  std::function<double(const std::string& key, double usual)> told;
};

template <class T>
T argument(const ProbeLaunch& launch, int index) {
  return *static_cast<T*>(launch.arguments[index]);
}

/// The told number, a little different each time where there is noise.
inline double noisy(const ProbeLaunch& launch, const std::string& key, double usual) {
  static unsigned asked = 0;
  constexpr std::array<double, 5> pattern{-1, 0.5, 0, 1, -0.5};
  return launch.told("probe." + key, usual) * (1 + launch.told("probe.noise", 0) * pattern[asked++ % pattern.size()]);
}

/// Plays gemm_tuner_mark_sm(marks, slots, hold_ns): CTAs in turn on every second SM number, as in a partition with
/// gaps.
inline double play_marks(const ProbeLaunch& launch) {
  auto* const marks = argument<unsigned*>(launch, 0);
  const auto slots = argument<unsigned>(launch, 1);
  const auto reachable = static_cast<unsigned>(launch.told("reachable_sms", launch.sms));
  const auto lost = static_cast<unsigned>(launch.told("lost_marks", 0));
  for (unsigned cta = lost; cta < launch.grid; ++cta) {
    if (const unsigned sm = cta % reachable * 2; sm < slots) ++marks[sm];
  }
  return 20;
}

/// Every CTA does `work` in `clk` clocks at `mhz`, on an SM of its own; microseconds.
inline double play_spans(const ProbeLaunch& launch, std::uint64_t* spans, double work, double clk, double mhz) {
  const double ns = 1e3 * clk / mhz;
  for (unsigned cta = 0; cta < launch.grid && launch.told("probe.stuck", 0) == 0; ++cta, spans += 7) {
    const double start_clk = launch.now_us * mhz + 1000 * cta;  // each SM counts from another number
    const double start_ns = launch.now_us * 1e3;
    const std::array<double, 6> words{start_clk, start_clk + clk, start_ns, start_ns + ns, 2.0 * cta, work};
    for (std::size_t i = 0; i < words.size(); ++i) spans[i] = static_cast<std::uint64_t>(words[i]);
  }
  return ns * 1e-3;
}

/// Microseconds that the launch takes; nullopt where it is none of our probes.
inline std::optional<double> play_probe(const ProbeLaunch& launch) {
  const std::string prefix = "gemm_tuner_";
  if (!launch.entry.starts_with(prefix)) return std::nullopt;
  const std::string name = launch.entry.substr(prefix.size());
  if (name == "mark_sm") return play_marks(launch);
  if (name == "nothing") return noisy(launch, name, 2.2);
  if (name == "link") return 10;
  if (name == "read") {
    const double bytes = 16.0 * static_cast<double>(argument<std::uint64_t>(launch, 1));
    const bool cached = bytes <= static_cast<double>(launch.l2_bytes);
    const double gbs = cached ? noisy(launch, "read_l2", 1340) : noisy(launch, "read", 336);
    return 1e-3 * bytes * argument<unsigned>(launch, 2) / gbs;
  }
  if (name == "copy") {
    return 1e-3 * 32.0 * static_cast<double>(argument<std::uint64_t>(launch, 2)) / noisy(launch, name, 320);
  }
  if (name == "chase") {
    const double loads = argument<unsigned>(launch, 2);
    const double clk = loads * noisy(launch, name, 240);
    return play_spans(launch, argument<std::uint64_t*>(launch, 3), loads, clk, noisy(launch, "clock", 1890));
  }
  if (name.starts_with("multiply_")) {
    const double usual = name.ends_with("int8") ? 1015 : name.ends_with("tf32") ? 126.5 : 253;
    const double work = 65536.0 * argument<unsigned>(launch, 0);
    const double clk = work / noisy(launch, name, usual);
    return play_spans(launch, argument<std::uint64_t*>(launch, 1), work, clk, noisy(launch, "clock_busy", 1800));
  }
  return std::nullopt;
}

}  // namespace probes
