// From what the probes counted to what a device is: pure functions over values.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "device/spec.hpp"

namespace gemm_tuner {

/// The probes gave numbers that cannot be, or that differ too much from run to run: nothing is to be made of them.
struct CalibrationError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a probe's CTA wrote of itself (span.cuh has the same seven words).
struct Span {
  std::uint64_t start_clk, stop_clk;  // clocks of the SM
  std::uint64_t start_ns, stop_ns;    // time of the GPU
  std::uint64_t sm;
  std::uint64_t work;  // multiply-adds, or loads one after the other
  std::uint64_t kept;  // of no meaning
};

/// Each is a median over the SMs; CalibrationError where a CTA wrote nothing or time stood still.
double clock_mhz_of(const std::vector<Span>& spans);
double work_per_clk_of(const std::vector<Span>& spans);  // of one SM, all its CTAs together
double clk_per_work_of(const std::vector<Span>& spans);  // of one CTA

struct Figure {
  double value = 0;   // median of the runs
  double spread = 0;  // their robust deviation, relative to the median

  bool operator==(const Figure&) const = default;
};

// By name: dram_read_gbs, dram_copy_gbs (bytes read and written), l2_read_gbs, l2_bytes_per_clk_per_sm, l2_latency_clk,
// clock_mhz (of SMs that mostly wait), sustained_clock_mhz (of SMs whose tensor cores are busy), launch_us (a kernel
// that does nothing, with the events around it), next_launch_us (from one such kernel to the next),
// fma_per_clk_per_sm_<dtype> (tensor cores, as FmaRates has them).
using Samples = std::map<std::string, std::vector<double>>;
using Figures = std::map<std::string, Figure>;

inline constexpr const char* fma_prefix = "fma_per_clk_per_sm_";

Figure figure_of(const std::vector<double>& samples);

/// Every sample's figure, and l2_bytes_per_clk_per_sm, which follows from the others.
Figures figures_of(const Samples& samples, int sms);

/// Whether mma.sync, which the probe is made of, is how that architecture reaches its tensor cores' full rate: not on
/// data-centre parts from 9.0 on, which have wgmma and tcgen05.
bool mma_sync_is_the_full_rate(int compute_capability);

/// Sentences, one for each figure that cannot be taken: above what the device can reach, or varying too much.
std::vector<std::string> faults_of(const Figures& figures, const DeviceSpec& asked);

/// The device as measured, source "calibrated": bandwidth, clock and, where mma.sync is the full rate, tensor-core
/// rates and sustained_fraction. The model multiplies bandwidth and rates by its dram_efficiency and tensor_efficiency:
/// they are set so that the products are what was measured. CalibrationError says every fault there is.
DeviceSpec calibrated(const DeviceSpec& asked, const Figures& figures);

}  // namespace gemm_tuner
