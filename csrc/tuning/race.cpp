#include "tuning/race.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace gemm_tuner {
namespace {

constexpr double least_round_noise = 0.003;  // a clock step of 15 MHz is about 1 %, and rounds share most of it
constexpr double unknown_noise = 0.03;       // of a repeat, until two of one kernel were timed together
constexpr double variants_reach = 0.1;  // group_m or split_k seldom win more: who is further behind has no variants

/// The config that the choice is; null where the library computes it.
const GemmConfig* config_of(const Choice& choice) { return choice ? std::get_if<GemmConfig>(&*choice) : nullptr; }

bool is_variant(GemmConfig a, const GemmConfig& b) {
  a.group_m = b.group_m;
  a.split_k = b.split_k;
  a.family = b.family;
  a.ctas = b.ctas;
  return a == b;
}

/// What the logarithm of library / candidate must reach.
double log_margin(const RaceOptions& options) { return -std::log1p(-options.margin); }

std::vector<GemmConfig> drawn(std::vector<GemmConfig> candidates, const RaceOptions& options) {
  Shuffler(options.seed).shuffle(candidates);
  const auto room = static_cast<std::size_t>(std::max(1, options.budget_repeats / (2 * std::max(1, options.repeats))));
  candidates.resize(std::min(candidates.size(), room));
  return candidates;
}

}  // namespace

Race::Race(const std::vector<GemmConfig>& candidates, const RaceOptions& options, std::vector<GemmConfig> space,
           const std::vector<LibraryAlgorithm>& algorithms)
    : Strategy(candidates, options, algorithms), space_(std::move(space)) {}

BlindRace::BlindRace(std::vector<GemmConfig> candidates, const RaceOptions& options)
    : Race(drawn(std::move(candidates), options), options) {}

void Race::fail(const Choice& choice) {
  Strategy::fail(choice);
  const std::size_t failed = index_of(choice);
  for (Contestant& each : contestants_) {
    if (each.state != State::beaten || each.beaten_by != failed) continue;
    each.state = State::racing;
    restart_ = true;
  }
}

std::vector<Trial> Race::next_round() {
  if (restart_) start_stage();
  if (stage_rounds_ > 0) judge();
  Decision decision = reached();
  if (!variants_raced_ && (decision != Decision::undecided || is_time_for_variants())) {
    variants_raced_ = true;
    if (add_variants()) {
      start_stage();
      decision = Decision::undecided;
    }
  }
  if (decision != Decision::undecided) {
    decided(decision);
    return {};
  }
  ++stage_rounds_;
  std::vector<Trial> round;
  for (const Contestant& each : contestants_) {
    if (each.state == State::racing) round.push_back({each.choice, options_.repeats});
  }
  return round;
}

double Race::round_noise() const {
  const double repeat = noises_.empty() ? unknown_noise : median(noises_);
  return std::max(least_round_noise, repeat * std::sqrt(std::numbers::pi / 2 / options_.repeats));
}

Gap Race::gap(const Contestant& a, const Contestant& b) const {
  // who fell out has the stage's first rounds only
  const std::size_t shared = std::min(a.rounds_us.size(), b.rounds_us.size());
  return gap_between(std::span(a.rounds_us).first(shared), std::span(b.rounds_us).first(shared), round_noise(),
                     options_.deviations);
}

void Race::judge() {
  const std::optional<std::size_t> leader = quickest(State::racing);
  if (!leader) return;
  const bool library_races = contestants_[library].state == State::racing;
  std::vector<std::pair<std::size_t, std::size_t>> beaten;  // who, and by whom
  for (std::size_t i = library + 1; i < contestants_.size(); ++i) {
    const Contestant& each = contestants_[i];
    if (each.state != State::racing) continue;
    const bool hopeless = library_races && !replaces_library(each) &&
                          gap(contestants_[library], each).most() < log_margin(options_) + options_.tolerance;
    if (hopeless) {
      beaten.emplace_back(i, library);
    } else if (i != *leader && gap(each, contestants_[*leader]).least() > -options_.tolerance) {
      beaten.emplace_back(i, *leader);
    }
  }
  if (library_races && replaces_library(contestants_[*leader])) beaten.emplace_back(library, *leader);
  for (const auto& [who, by] : beaten) {
    contestants_[who].state = State::beaten;
    contestants_[who].beaten_by = by;
  }
}

bool Race::replaces_library(const Contestant& candidate) const {
  const Contestant& aten = contestants_[library];
  if (aten.rounds_us.empty() || candidate.rounds_us.empty()) return false;
  return gap(aten, candidate).least() >= log_margin(options_);
}

Decision Race::reached() const {
  int racing = 0;
  bool beaten = false;
  for (std::size_t i = library + 1; i < contestants_.size(); ++i) {
    racing += contestants_[i].state == State::racing;
    beaten = beaten || contestants_[i].state == State::beaten;
  }
  const bool library_races = contestants_[library].state == State::racing;
  if (racing == 0) return beaten ? Decision::margin : Decision::failure;
  if (stage_rounds_ > 0 && racing == 1 && !library_races) return Decision::confidence;
  return stage_rounds_ >= options_.max_rounds ? Decision::budget : Decision::undecided;
}

bool Race::is_time_for_variants() const {
  const auto racing = std::count_if(contestants_.begin() + 1, contestants_.end(),
                                    [](const Contestant& each) { return each.state == State::racing; });
  return stage_rounds_ > 0 && racing <= options_.leaders;
}

bool Race::add_variants() {
  double best_us = INFINITY;
  std::vector<std::pair<double, std::size_t>> leaders;
  for (std::size_t i = 0; i < contestants_.size(); ++i) {
    const Contestant& each = contestants_[i];
    if (each.state == State::failed || each.repeats_us.empty()) continue;
    const double latency_us = median(each.repeats_us);
    best_us = std::min(best_us, latency_us);
    if (config_of(each.choice) != nullptr) leaders.emplace_back(latency_us, i);
  }
  std::sort(leaders.begin(), leaders.end());
  leaders.resize(std::min(leaders.size(), static_cast<std::size_t>(options_.leaders)));
  const std::size_t before = contestants_.size();
  for (const auto& [latency_us, leader] : leaders) {
    if (latency_us > best_us * (1 + variants_reach)) continue;
    int left = options_.max_variants;
    for (const GemmConfig& config : space_) {
      if (left == 0) break;
      const bool known = std::any_of(contestants_.begin(), contestants_.end(),
                                     [&](const Contestant& each) { return each.choice == config; });
      if (known || !is_variant(config, *config_of(contestants_[leader].choice))) continue;
      add(config);
      --left;
    }
  }
  return contestants_.size() > before;
}

void Race::start_stage() {
  restart_ = false;
  stage_rounds_ = 0;
  for (Contestant& each : contestants_) {
    if (each.state == State::racing) each.rounds_us.clear();
  }
}

}  // namespace gemm_tuner
