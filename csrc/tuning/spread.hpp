// What a handful of timings say of a kernel: the median, how far timings scatter, and how sure a difference is. Timings
// have one-sided outliers (a clock step, another process), so nothing here is a mean or a variance of raw values.
#pragma once

#include <span>
#include <vector>

namespace gemm_tuner {

/// The middle one; of an even number the mean of the two in the middle. Throws std::invalid_argument for none.
double median(std::span<const double> values);

/// Standard deviation as the median absolute deviation tells it, which a few wild values do not move.
double robust_deviation(std::span<const double> values);

/// Relative standard deviation of one repeat, from those of one kernel in one round; 0 for fewer than two.
double repeat_noise(std::span<const double> repeats_us);

/// By how much one kernel is slower than another, from rounds that both ran in.
struct Gap {
  double log_ratio = 0;   // median over rounds of ln(a / b): positive where a is slower
  double half_width = 0;  // the true value lies this close to log_ratio, as sure as was asked for

  double least() const { return log_ratio - half_width; }
  double most() const { return log_ratio + half_width; }
};

/// Pairs the two round by round, so that a clock that sinks while both run does not count as a difference.
/// a_us, b_us: one time per round, of equal number, at least one. round_noise: relative standard deviation of one of
/// these times. deviations: standard errors that half_width spans.
Gap gap_between(std::span<const double> a_us, std::span<const double> b_us, double round_noise, double deviations);

}  // namespace gemm_tuner
