#include "tuning/spread.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace gemm_tuner {
namespace {

constexpr double deviations_per_mad = 1.4826;     // of a normal distribution
constexpr std::size_t rounds_with_a_scatter = 3;  // fewer differences have no scatter of their own worth the name

}  // namespace

double median(std::span<const double> values) {
  if (values.empty()) throw std::invalid_argument("the median of no values was asked for");
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const std::size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double robust_deviation(std::span<const double> values) {
  const double center = median(values);
  std::vector<double> distances;
  for (const double value : values) distances.push_back(std::abs(value - center));
  return deviations_per_mad * median(distances);
}

double repeat_noise(std::span<const double> repeats_us) {
  if (repeats_us.size() < 2) return 0;
  const double freedom = static_cast<double>(repeats_us.size()) - 1;
  const double center = median(repeats_us);
  double squares = 0;
  for (const double each : repeats_us) squares += std::pow(each / center - 1, 2);
  // the caller takes the median over rounds, and the median of a chi-squared variable lies below its mean by this much
  // (Wilson and Hilferty)
  return std::sqrt(squares / freedom) / std::pow(1 - 2 / (9 * freedom), 1.5);
}

Gap gap_between(std::span<const double> a_us, std::span<const double> b_us, double round_noise, double deviations) {
  if (a_us.size() != b_us.size()) throw std::invalid_argument("a gap needs the same rounds of both");
  std::vector<double> differences;
  for (std::size_t i = 0; i < a_us.size(); ++i) differences.push_back(std::log(a_us[i] / b_us[i]));
  double deviation = std::numbers::sqrt2 * round_noise;
  if (differences.size() >= rounds_with_a_scatter) deviation = std::max(deviation, robust_deviation(differences));
  const double rounds = static_cast<double>(differences.size());
  const double error = std::sqrt(std::numbers::pi / 2) * deviation / std::sqrt(rounds);  // of a median
  // the noise itself is an estimate, and of one or two rounds a poor one
  return {median(differences), deviations * error * (1 + 1 / rounds)};
}

}  // namespace gemm_tuner
