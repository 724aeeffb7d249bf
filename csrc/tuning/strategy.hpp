// How a budget of timings is spent on candidates, as a dialogue: the strategy asks for trials, the caller has them
// timed wherever it likes and tells the times. No input or output, no clock, no driver: the same times give the same
// answer.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "gemm/algorithm.hpp"
#include "gemm/config.hpp"

namespace gemm_tuner {

/// What may replace the library's own choice: a config of ours, or an algorithm of the library's.
using Candidate = std::variant<GemmConfig, LibraryAlgorithm>;
inline bool operator==(const Candidate& candidate, const GemmConfig& config) {
  const auto* own = std::get_if<GemmConfig>(&candidate);
  return own != nullptr && *own == config;
}
/// What a problem can be computed by: a candidate, or, where there is none, what the library itself chooses.
using Choice = std::optional<Candidate>;
std::string to_string(const Choice& choice);

/// So many times the choice is to be timed, one after the other.
struct Trial {
  Choice choice;
  int repeats = 0;
  bool operator==(const Trial&) const = default;
};

/// confidence: all others are slower, or quicker by less than the tolerance. margin: no candidate beats the library by
/// the margin. budget: rounds, repeats or seconds ran out. failure: no candidate ran.
enum class Decision { undecided, confidence, margin, budget, failure };
enum class State { racing, beaten, failed };

template <>
struct Names<Decision> {
  static constexpr std::string_view noun = "decision";
  static constexpr std::array<std::pair<Decision, std::string_view>, 5> all{{{Decision::undecided, "undecided"},
                                                                             {Decision::confidence, "confidence"},
                                                                             {Decision::margin, "margin"},
                                                                             {Decision::budget, "budget"},
                                                                             {Decision::failure, "failure"}}};
};

template <>
struct Names<State> {
  static constexpr std::string_view noun = "state";
  static constexpr std::array<std::pair<State, std::string_view>, 3> all{
      {{State::racing, "racing"}, {State::beaten, "beaten"}, {State::failed, "failed"}}};
};

struct RaceOptions {
  double margin = 0.02;      // share by which a candidate must beat the library to replace it, beyond the noise
  double tolerance = 0.005;  // quicker by less is not worth a repeat
  double deviations = 2.0;   // standard errors that a difference must exceed to count
  int repeats = 3;           // of each choice in a round
  int max_rounds = 24;       // of each stage
  int leaders = 2;           // whose group_m and split_k variants are raced in the second stage
  int max_variants = 3;      // of each leader
  int budget_repeats = 250;  // of all choices together
  double budget_s = std::numeric_limits<double>::infinity();  // by the seconds that the caller reports
  std::int64_t seed = 0;                                      // of the order within a round
  bool operator==(const RaceOptions&) const = default;
};

/// Throws std::invalid_argument with a sentence where an option makes no sense.
void validate(const RaceOptions& options);

/// One line of the table at the end; latency_us is the median of all repeats, spread their relative standard deviation.
struct Standing {
  Choice choice;
  State state = State::racing;
  std::optional<double> latency_us;
  double spread = 0;
  int repeats = 0;
  bool operator==(const Standing&) const = default;
};

struct Verdict {
  Choice winner;
  std::optional<double> latency_us;  // median of the winner's repeats; nothing where none of its repeats was told
  double spread = 0;                 // relative standard deviation of one of them
  std::optional<double> library_us;
  int rounds = 0;
  int repeats = 0;  // of all choices together
  Decision decided_by = Decision::undecided;
  std::vector<Standing> standings;  // quickest first, then those without a time
  bool operator==(const Verdict&) const = default;
};

/// Numbers that look random and are the same on every platform, as the standard's distributions are not.
class Shuffler {
 public:
  explicit Shuffler(std::int64_t seed) : state_(static_cast<std::uint64_t>(seed)) {}

  template <class T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t left = values.size(); left > 1; --left) std::swap(values[left - 1], values[below(left)]);
  }

 private:
  std::size_t below(std::size_t limit);
  std::uint64_t state_;
};

class Strategy {
 public:
  /// candidates: best first, without repetition. The library is always a contestant too.
  /// algorithms: of the library's, which race beside them.
  Strategy(const std::vector<GemmConfig>& candidates, const RaceOptions& options,
           const std::vector<LibraryAlgorithm>& algorithms = {});
  virtual ~Strategy() = default;
  Strategy(const Strategy&) = delete;
  Strategy& operator=(const Strategy&) = delete;

  /// The trials of the next round in random order, each to be answered by `tell` or `fail` before the next call; none
  /// once all is decided. elapsed_s: what the caller's clock says since the start.
  std::vector<Trial> ask(double elapsed_s = 0);
  void tell(const Choice& choice, const std::vector<double>& latencies_us);
  /// The choice is out, whatever it was told to take: it does not run, or gives wrong numbers.
  virtual void fail(const Choice& choice);
  /// The answer as things stand, at any time.
  Verdict verdict() const;

 protected:
  struct Contestant {
    Choice choice;
    State state = State::racing;
    std::optional<std::size_t> beaten_by;
    std::vector<double> repeats_us;  // all of them
    std::vector<double> rounds_us;   // medians of the rounds of this stage
    bool asked = false;
  };

  /// What the next round should time, in any order; empty where there is nothing more to learn, with decided() called.
  virtual std::vector<Trial> next_round() = 0;
  /// Is the candidate's win over the library enough to replace it?
  virtual bool replaces_library(const Contestant& candidate) const = 0;

  void decided(Decision by) { decision_ = by; }
  void add(const Choice& choice);
  std::size_t index_of(const Choice& choice) const;
  /// The candidate in that state that is quickest in its rounds so far; of equals the first.
  std::optional<std::size_t> quickest(State state) const;

  static constexpr std::size_t library = 0;  // the first contestant
  const RaceOptions options_;
  std::vector<Contestant> contestants_;
  std::vector<double> noises_;  // of one repeat, by each round of each choice

 private:
  /// The round with as many repeats as are left, at most; empty where there are not enough for one each.
  std::vector<Trial> within_budget(std::vector<Trial> round) const;
  std::size_t chosen() const;

  Shuffler shuffler_;
  Decision decision_ = Decision::undecided;
  int rounds_ = 0;
  int repeats_ = 0;
};

/// Times every candidate options.repeats times in one round, as fixed-repeat autotuners do; the margin is plain.
class Exhaustive : public Strategy {
 public:
  using Strategy::Strategy;

 protected:
  std::vector<Trial> next_round() override;
  bool replaces_library(const Contestant& candidate) const override;
};

/// Times one candidate after the other, drawn at random, options.repeats times each, until the budget is gone.
class RandomSearch : public Exhaustive {
 public:
  RandomSearch(std::vector<GemmConfig> candidates, const RaceOptions& options);

 protected:
  std::vector<Trial> next_round() override;

 private:
  std::vector<GemmConfig> drawn_;
  std::size_t next_ = 0;
};

}  // namespace gemm_tuner
