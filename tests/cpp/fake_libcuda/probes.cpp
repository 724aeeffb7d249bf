// What the stand-in libcuda answers where our own probes are launched: a test double's answers, no measurement. They
// are those of an RTX 3060 as one could be, unless told otherwise, "key=value" as in fake.hpp:
//   probe.read=336             GB/s of DRAM; probe.read_l2=1340 of what L2 holds; probe.copy=320, read and written
//   probe.chase=240            clocks from one dependent load to the next
//   probe.clock=1890           MHz while it chases; probe.clock_busy=1800 while tensor cores are busy
//   probe.multiply_fp16=253    multiply-adds per clock of an SM; likewise bf16, tf32, int8, fp8
//   probe.nothing=2.2          us that an empty kernel takes, beside launch_us
//   probe.noise=0              relative; runs differ from each other by about so much
//   probe.stuck=0              1: no CTA writes its clocks
#include <algorithm>
#include <array>

#include "fake.hpp"

namespace fake {
namespace {

constexpr int l2_bytes = 38;

template <class T>
T argument(void** arguments, int index) {
  return *static_cast<T*>(arguments[index]);
}

/// The told number, a little different each time where there is noise.
double noisy(const std::string& key, double usual) {
  constexpr std::array<double, 5> pattern{-1, 0.5, 0, 1, -0.5};
  const double now = pattern[static_cast<std::size_t>(machine().launches++) % pattern.size()];
  return told_or("probe." + key, usual) * (1 + told_or("probe.noise", 0.0) * now);
}

/// Every CTA does `work` in `clk` clocks at `mhz`, on an SM of its own; microseconds.
double play_spans(unsigned grid_x, std::uint64_t* spans, double work, double clk, double full_mhz) {
  const double mhz = full_mhz * clock_fraction();
  const double now_us = std::max(machine().gpu_us, machine().host_us);
  const double ns = 1e3 * clk / mhz;
  for (unsigned cta = 0; cta < grid_x && told_or("probe.stuck", 0) == 0; ++cta, spans += 7) {
    const double start_clk = now_us * mhz + 1000 * cta;  // each SM counts from another number
    const double start_ns = now_us * 1e3;
    const std::array<double, 6> words{start_clk, start_clk + clk, start_ns, start_ns + ns, 2.0 * cta, work};
    for (std::size_t i = 0; i < words.size(); ++i) spans[i] = static_cast<std::uint64_t>(words[i]);
  }
  return ns * 1e-3;
}

}  // namespace

std::optional<double> play_probe(const Function& function, unsigned grid_x, void** arguments) {
  const std::string prefix = "gemm_tuner_";
  if (!function.entry.starts_with(prefix)) return std::nullopt;
  const std::string name = function.entry.substr(prefix.size());
  if (name == "nothing") return noisy(name, 2.2);
  if (name == "link") return 10;
  if (name == "read") {
    const double bytes = 16.0 * static_cast<double>(argument<std::uint64_t>(arguments, 1));
    const double gbs = bytes <= attribute(l2_bytes) ? noisy("read_l2", 1340) : noisy(name, 336);
    return 1e-3 * bytes * argument<unsigned>(arguments, 2) / gbs;
  }
  if (name == "copy") {
    return 1e-3 * 32.0 * static_cast<double>(argument<std::uint64_t>(arguments, 2)) / noisy(name, 320);
  }
  if (name == "chase") {
    const double loads = argument<unsigned>(arguments, 2);
    const double clk = loads * noisy(name, 240);
    return play_spans(grid_x, argument<std::uint64_t*>(arguments, 3), loads, clk, noisy("clock", 1890));
  }
  if (name.starts_with("multiply_")) {
    const double usual = name.ends_with("int8") ? 1015 : name.ends_with("tf32") ? 126.5 : 253;
    const double work = 65536.0 * argument<unsigned>(arguments, 0);
    const double clk = work / noisy(name, usual);
    return play_spans(grid_x, argument<std::uint64_t*>(arguments, 1), work, clk, noisy("clock_busy", 1800));
  }
  return std::nullopt;
}

}  // namespace fake
