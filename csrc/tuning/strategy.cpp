#include "tuning/strategy.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "tuning/spread.hpp"

namespace gemm_tuner {
namespace {

void require(bool holds, std::string_view name, std::string_view what, const std::string& given) {
  if (holds) return;
  throw std::invalid_argument(std::string(name) + " must be " + std::string(what) + ", got " + given);
}

void require_at_least(int least, std::string_view name, int given) {
  require(given >= least, name, "at least " + std::to_string(least), std::to_string(given));
}

bool is_share(double value) { return value >= 0 && value < 1; }

}  // namespace

std::string to_string(const Choice& choice) {
  if (!choice) return "the library";
  return std::visit([](const auto& candidate) { return to_string(candidate); }, *choice);
}

void validate(const RaceOptions& o) {
  require(is_share(o.margin), "margin", "a share of at least 0 and below 1", std::to_string(o.margin));
  require(is_share(o.tolerance), "tolerance", "a share of at least 0 and below 1", std::to_string(o.tolerance));
  require(o.deviations > 0 && std::isfinite(o.deviations), "deviations", "above 0", std::to_string(o.deviations));
  require(o.budget_s >= 0, "budget_s", "at least 0 seconds", std::to_string(o.budget_s));
  require_at_least(1, "repeats", o.repeats);
  require_at_least(1, "max_rounds", o.max_rounds);
  require_at_least(0, "leaders", o.leaders);
  require_at_least(0, "max_variants", o.max_variants);
  require_at_least(2, "budget_repeats", o.budget_repeats);
}

std::size_t Shuffler::below(std::size_t limit) {
  // splitmix64 (Steele, Lea, Flood 2014); the bias of a remainder of 64 bits is far below anything that matters here
  state_ += 0x9e3779b97f4a7c15ULL;
  std::uint64_t mixed = state_;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
  return static_cast<std::size_t>((mixed ^ (mixed >> 31)) % limit);
}

Strategy::Strategy(const std::vector<GemmConfig>& candidates, const RaceOptions& options,
                   const std::vector<LibraryAlgorithm>& algorithms)
    : options_(options), shuffler_(options.seed) {
  validate(options);
  add(std::nullopt);
  // of more candidates than the budget has repeats for, the best predicted are kept
  std::size_t room = static_cast<std::size_t>(options.budget_repeats) - 1;
  const auto add_all = [&](const auto& all) {
    for (const auto& each : std::span(all).first(std::min(room, all.size()))) {
      validate(each);
      add(each);
    }
    room -= std::min(room, all.size());
  };
  add_all(candidates);
  add_all(algorithms);
}

void Strategy::add(const Choice& choice) {
  for (const Contestant& each : contestants_) {
    if (each.choice == choice) throw std::invalid_argument(to_string(choice) + " is among the candidates twice");
  }
  Contestant contestant;
  contestant.choice = choice;
  contestants_.push_back(contestant);
}

std::size_t Strategy::index_of(const Choice& choice) const {
  for (std::size_t i = 0; i < contestants_.size(); ++i) {
    if (contestants_[i].choice == choice) return i;
  }
  throw std::invalid_argument(to_string(choice) + " is none of the contestants");
}

std::vector<Trial> Strategy::ask(double elapsed_s) {
  for (const Contestant& each : contestants_) {
    if (!each.asked) continue;
    throw std::invalid_argument(to_string(each.choice) +
                                " was asked for and not answered: tell its times, or fail it, before asking again");
  }
  if (decision_ != Decision::undecided) return {};
  std::vector<Trial> round;
  if (elapsed_s < options_.budget_s && repeats_ < options_.budget_repeats) round = within_budget(next_round());
  if (round.empty()) {
    if (decision_ == Decision::undecided) decision_ = Decision::budget;
    return {};
  }
  shuffler_.shuffle(round);
  for (const Trial& trial : round) contestants_[index_of(trial.choice)].asked = true;
  ++rounds_;
  return round;
}

std::vector<Trial> Strategy::within_budget(std::vector<Trial> round) const {
  if (round.empty()) return round;
  const int affordable = (options_.budget_repeats - repeats_) / static_cast<int>(round.size());
  if (affordable == 0) return {};
  for (Trial& trial : round) trial.repeats = std::min(trial.repeats, affordable);
  return round;
}

void Strategy::tell(const Choice& choice, const std::vector<double>& latencies_us) {
  Contestant& told = contestants_[index_of(choice)];
  if (!told.asked) throw std::invalid_argument(to_string(choice) + " was not asked for in this round");
  if (latencies_us.empty()) throw std::invalid_argument(to_string(choice) + " was told no time; fail it instead");
  for (const double each : latencies_us) {
    require(each > 0 && std::isfinite(each), "a latency in microseconds", "above 0 and finite", std::to_string(each));
  }
  told.asked = false;
  told.repeats_us.insert(told.repeats_us.end(), latencies_us.begin(), latencies_us.end());
  told.rounds_us.push_back(median(latencies_us));
  if (latencies_us.size() > 1) noises_.push_back(repeat_noise(latencies_us));
  repeats_ += static_cast<int>(latencies_us.size());
}

void Strategy::fail(const Choice& choice) {
  Contestant& failed = contestants_[index_of(choice)];
  failed.state = State::failed;
  failed.asked = false;
  decision_ = Decision::undecided;  // a winner may turn out wrong after the race
}

std::optional<std::size_t> Strategy::quickest(State state) const {
  std::optional<std::size_t> best;
  double best_us = 0;
  for (std::size_t i = library + 1; i < contestants_.size(); ++i) {
    const Contestant& each = contestants_[i];
    if (each.state != state || each.rounds_us.empty()) continue;
    const double latency_us = median(each.rounds_us);
    if (best && latency_us >= best_us) continue;
    best = i;
    best_us = latency_us;
  }
  return best;
}

std::size_t Strategy::chosen() const {
  const std::optional<std::size_t> candidate = quickest(State::racing);
  if (!candidate) return library;
  switch (contestants_[library].state) {
    case State::racing:
      return replaces_library(contestants_[*candidate]) ? *candidate : library;
    case State::beaten:
    case State::failed:
      return *candidate;
  }
  return library;
}

Verdict Strategy::verdict() const {
  Verdict verdict;
  verdict.rounds = rounds_;
  verdict.repeats = repeats_;
  verdict.decided_by = decision_;
  for (const Contestant& each : contestants_) {
    Standing line;
    line.choice = each.choice;
    line.state = each.state;
    line.repeats = static_cast<int>(each.repeats_us.size());
    if (!each.repeats_us.empty()) {
      line.latency_us = median(each.repeats_us);
      line.spread = robust_deviation(each.repeats_us) / *line.latency_us;
    }
    verdict.standings.push_back(line);
  }
  const Standing winner = verdict.standings[chosen()];
  verdict.winner = winner.choice;
  verdict.latency_us = winner.latency_us;
  verdict.spread = winner.spread;
  verdict.library_us = verdict.standings[library].latency_us;
  std::stable_sort(verdict.standings.begin(), verdict.standings.end(), [](const Standing& a, const Standing& b) {
    return a.latency_us.value_or(INFINITY) < b.latency_us.value_or(INFINITY);
  });
  return verdict;
}

std::vector<Trial> Exhaustive::next_round() {
  std::vector<Trial> round;
  for (const Contestant& each : contestants_) {
    if (each.state == State::racing && each.repeats_us.empty()) round.push_back({each.choice, options_.repeats});
  }
  if (round.empty()) decided(quickest(State::racing) ? Decision::budget : Decision::failure);
  return round;
}

bool Exhaustive::replaces_library(const Contestant& candidate) const {
  const Contestant& aten = contestants_[library];
  return !aten.rounds_us.empty() && median(candidate.rounds_us) < median(aten.rounds_us) * (1 - options_.margin);
}

RandomSearch::RandomSearch(std::vector<GemmConfig> candidates, const RaceOptions& options)
    : Exhaustive({}, options), drawn_(std::move(candidates)) {
  Shuffler(options.seed).shuffle(drawn_);
}

std::vector<Trial> RandomSearch::next_round() {
  if (next_ < drawn_.size()) add(drawn_[next_++]);
  return Exhaustive::next_round();
}

}  // namespace gemm_tuner
