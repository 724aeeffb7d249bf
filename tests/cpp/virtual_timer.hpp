// A double of a GPU: tells a strategy times that a table says, with noise that depends on the choice, the repeat and a
// seed alone, so that two strategies that ask in another order are told the same.
#pragma once

#include <cmath>
#include <map>
#include <numbers>
#include <set>
#include <string>
#include <vector>

#include "tuning/strategy.hpp"

namespace gemm_tuner {

struct VirtualTimer {
  double library_us = 100;
  std::vector<std::pair<GemmConfig, double>> table = {};
  double noise = 0;     // relative standard deviation of a repeat
  double drift = 0;     // share by which everything gets slower from one round to the next
  double outliers = 0;  // share of repeats that take half as long again
  unsigned seed = 1;
  std::set<std::string> broken = {};  // choices that fail

  std::map<std::string, int> asked = {};  // repeats so far
  int rounds = 0;

  double truth_us(const Choice& choice) const {
    if (!choice) return library_us;
    for (const auto& [config, us] : table) {
      if (config == *choice) return us;
    }
    return 0;  // no such time: tell() refuses it
  }

  std::vector<GemmConfig> configs() const {
    std::vector<GemmConfig> all;
    for (const auto& [config, us] : table) all.push_back(config);
    return all;
  }

  /// Between 0 and 1, the same for the same choice and count.
  double uniform(const Choice& choice, int count, std::uint64_t salt) const {
    std::uint64_t bits = 1469598103934665603ULL ^ (seed * 0x9e3779b97f4a7c15ULL) ^ (salt << 32);
    const auto mix = [&](std::uint64_t value) {
      bits = (bits ^ value) * 1099511628211ULL;
      bits ^= bits >> 29;
    };
    for (const char letter : to_string(choice)) mix(static_cast<unsigned char>(letter));
    mix(static_cast<std::uint64_t>(count));
    mix(salt);
    bits *= 0xbf58476d1ce4e5b9ULL;
    bits ^= bits >> 32;
    return (static_cast<double>(bits >> 11) + 0.5) / 9007199254740992.0;
  }

  double repeat_us(const Choice& choice) {
    const int count = asked[to_string(choice)]++;
    const double normal = std::sqrt(-2 * std::log(uniform(choice, count, 1))) *
                          std::cos(2 * std::numbers::pi * uniform(choice, count, 2));
    const double outlier = uniform(choice, count, 3) < outliers ? 1.5 : 1;
    return truth_us(choice) * (1 + noise * normal) * outlier * std::pow(1 + drift, rounds);
  }

  void answer(Strategy& strategy, const std::vector<Trial>& round) {
    for (const Trial& trial : round) {
      if (broken.contains(to_string(trial.choice))) {
        strategy.fail(trial.choice);
        continue;
      }
      std::vector<double> times;
      for (int i = 0; i < trial.repeats; ++i) times.push_back(repeat_us(trial.choice));
      strategy.tell(trial.choice, times);
    }
    ++rounds;
  }

  Verdict run(Strategy& strategy) {
    for (auto round = strategy.ask(); !round.empty(); round = strategy.ask()) answer(strategy, round);
    return strategy.verdict();
  }
};

}  // namespace gemm_tuner
