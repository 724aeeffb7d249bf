// The racing tuner: rounds in which every contestant still in the race is timed, the slower ones dropped between them.
#pragma once

#include <vector>

#include "tuning/spread.hpp"
#include "tuning/strategy.hpp"

namespace gemm_tuner {

/// Two stages. First the candidates as given, whose tiles differ; then the leaders again, beside configs of `space`
/// that differ from one of them in group_m, split_k, family and ctas alone. docs/tuning.md tells how it decides.
class Race : public Strategy {
 public:
  /// candidates: best predicted first. space: where variants come from, best first; none without it.
  /// algorithms: as Strategy takes them; they have no variants.
  Race(const std::vector<GemmConfig>& candidates, const RaceOptions& options, std::vector<GemmConfig> space = {},
       const std::vector<LibraryAlgorithm>& algorithms = {});

  /// Those that the failed choice had beaten race again.
  void fail(const Choice& choice) override;

 protected:
  std::vector<Trial> next_round() override;
  bool replaces_library(const Contestant& candidate) const override;

 private:
  Gap gap(const Contestant& a, const Contestant& b) const;
  double round_noise() const;
  /// Drops who is beaten, by the leader or by the library; all are judged by the same standings.
  void judge();
  Decision reached() const;
  bool is_time_for_variants() const;
  /// The second stage's contestants; are there any?
  bool add_variants();
  void start_stage();

  std::vector<GemmConfig> space_;
  int stage_rounds_ = 0;
  bool variants_raced_ = false;
  bool restart_ = false;
};

/// A race that no model has chosen the candidates for: as many of them as half of the budget can time, drawn at random.
class BlindRace : public Race {
 public:
  BlindRace(std::vector<GemmConfig> candidates, const RaceOptions& options);
};

}  // namespace gemm_tuner
