#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "round_device.hpp"
#include "tuning/race.hpp"
#include "virtual_timer.hpp"

namespace gemm_tuner {
namespace {

std::vector<GemmConfig> eight() {
  std::vector<GemmConfig> configs;
  for (const int block_m : {16, 32, 64, 128}) {
    for (const int block_n : {32, 64}) configs.push_back(config_of(block_m, block_n, 32));
  }
  return configs;
}

/// Eight candidates, the one at `winner` taking best_us, the others from 2 % to 60 % more.
VirtualTimer planted(std::size_t winner, double best_us = 80, unsigned seed = 1) {
  VirtualTimer timer{.library_us = 100, .seed = seed};
  const std::vector<double> behind{1.02, 1.04, 1.07, 1.1, 1.2, 1.35, 1.6};
  std::size_t next = 0;
  for (const GemmConfig& config : eight()) {
    const bool wins = timer.table.size() == winner;
    timer.table.emplace_back(config, wins ? best_us : best_us * behind[next++]);
  }
  return timer;
}

Verdict raced(VirtualTimer timer, const RaceOptions& options = {}) {
  Race race(timer.configs(), options);
  return timer.run(race);
}

TEST(Race, FindsThePlantedWinnerUnderNoiseAndOutliers) {
  int found = 0;
  int repeats = 0;
  for (unsigned seed = 0; seed < 80; ++seed) {
    VirtualTimer timer = planted(seed % 8, 80, seed);
    timer.noise = 0.01;
    timer.outliers = 0.03;
    const Verdict verdict = raced(timer);
    found += verdict.winner == timer.table[seed % 8].first;
    repeats += verdict.repeats;
    EXPECT_LE(timer.truth_us(verdict.winner), 80 * 1.0401) << "seed " << seed;
  }
  EXPECT_GE(found, 76);
  EXPECT_LE(repeats / 80, 130);  // of 900 that nine choices take at 100 each
}

TEST(Race, WithoutNoiseIsShort) {
  const Verdict verdict = raced(planted(5));
  EXPECT_EQ(verdict.winner, eight()[5]);
  EXPECT_EQ(verdict.decided_by, Decision::confidence);
  EXPECT_LE(verdict.rounds, 3);
  EXPECT_EQ(verdict.latency_us, 80);
  EXPECT_EQ(verdict.library_us, 100);
}

TEST(Race, AClockThatSinksChangesNothing) {
  for (const double drift : {0.01, -0.01}) {
    VirtualTimer timer = planted(3);
    timer.noise = 0.003;
    timer.drift = drift;
    EXPECT_EQ(raced(timer).winner, eight()[3]) << drift;
  }
}

TEST(Race, TheLibraryStaysUnlessBeatenByTheMarginAndTheNoise) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    for (const auto& [best_us, noise, replaced] :
         {std::tuple{99.0, 0.01, false}, {94.0, 0.01, true}, {97.0, 0.0, true}}) {
      VirtualTimer timer = planted(2, best_us, seed);
      timer.noise = noise;
      EXPECT_EQ(raced(timer).winner.has_value(), replaced) << best_us << " seed " << seed;
    }
  }
  // 3 % are beyond the margin, and not beyond this noise
  VirtualTimer noisy = planted(2, 97);
  noisy.noise = 0.08;
  EXPECT_EQ(raced(noisy).winner, std::nullopt);
}

TEST(Race, AHopelessFieldIsLeftAfterARound) {
  const Verdict verdict = raced(planted(0, 150));
  EXPECT_EQ(verdict.winner, std::nullopt);
  EXPECT_EQ(verdict.decided_by, Decision::margin);
  EXPECT_EQ(verdict.rounds, 1);
  EXPECT_EQ(verdict.repeats, 9 * 3);
  EXPECT_EQ(verdict.latency_us, 100);
}

TEST(Race, EqualsAreNotRacedToTheEndOfTheBudget) {
  VirtualTimer timer{.library_us = 100, .noise = 0.001};
  for (const GemmConfig& config : eight()) timer.table.emplace_back(config, 80);
  const Verdict verdict = raced(timer);
  EXPECT_EQ(verdict.decided_by, Decision::confidence);
  EXPECT_TRUE(verdict.winner);
  EXPECT_LT(verdict.repeats, 200);
}

TEST(Race, TheOrderOfCandidatesDoesNotChangeTheAnswer) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    VirtualTimer timer = planted(seed % 8, 97, seed);
    timer.noise = 0.02;
    const Verdict first = raced(timer);
    for (std::int64_t order = 0; order < 5; ++order) {
      VirtualTimer same = timer;
      Shuffler(order).shuffle(same.table);
      Verdict verdict = raced(same, {.seed = order});
      EXPECT_EQ(verdict, first);
    }
  }
}

TEST(Race, TheSameTimesGiveTheSameRace) {
  VirtualTimer timer = planted(4, 97);
  timer.noise = 0.02;
  std::vector<std::vector<Trial>> rounds[2];
  for (auto& kept : rounds) {
    VirtualTimer again = timer;
    Race race(again.configs(), {.seed = 3});
    for (auto round = race.ask(); !round.empty(); round = race.ask()) {
      kept.push_back(round);
      again.answer(race, round);
    }
  }
  EXPECT_EQ(rounds[0], rounds[1]);
  // the rounds are mixed, and not all in one order
  ASSERT_GE(rounds[0].size(), 2u);
  EXPECT_NE(rounds[0][0].front().choice, rounds[0][1].front().choice);
}

TEST(Race, KeepsItsBudgets) {
  for (const int budget : {2, 5, 9, 30, 50}) {
    VirtualTimer timer = planted(4, 98);
    timer.noise = 0.05;
    const Verdict verdict = raced(timer, {.budget_repeats = budget});
    EXPECT_LE(verdict.repeats, budget);
    EXPECT_GE(verdict.repeats, std::min(budget, 9) - 1);
    EXPECT_EQ(verdict.decided_by, Decision::budget) << budget;
  }
  VirtualTimer timer = planted(4, 98);
  timer.noise = 0.05;
  EXPECT_LE(raced(timer, {.max_rounds = 4}).rounds, 4);
  Race race(timer.configs(), {.budget_s = 1.5});
  timer.answer(race, race.ask(0));
  timer.answer(race, race.ask(1.4));
  EXPECT_TRUE(race.ask(1.5).empty());
  EXPECT_EQ(race.verdict().rounds, 2);
  EXPECT_EQ(race.verdict().decided_by, Decision::budget);
}

TEST(Race, NothingToRaceLeavesTheLibrary) {
  Race race({}, {});
  EXPECT_TRUE(race.ask().empty());
  EXPECT_EQ(race.verdict().winner, std::nullopt);
  EXPECT_EQ(race.verdict().decided_by, Decision::failure);
  EXPECT_EQ(race.verdict().latency_us, std::nullopt);
}

TEST(Race, WhatFailsIsOut) {
  VirtualTimer timer = planted(4);
  for (const GemmConfig& config : eight()) timer.broken.insert(to_string(Choice(config)));
  Verdict verdict = raced(timer);
  EXPECT_EQ(verdict.winner, std::nullopt);
  EXPECT_EQ(verdict.decided_by, Decision::failure);
  EXPECT_EQ(verdict.library_us, 100);
  timer.broken.erase(to_string(Choice(eight()[1])));
  EXPECT_EQ(raced(timer).winner, eight()[1]);
  timer.broken = {to_string(Choice{})};  // a library without a kernel for this
  verdict = raced(timer);
  EXPECT_EQ(verdict.winner, eight()[4]);
  EXPECT_EQ(verdict.library_us, std::nullopt);
  EXPECT_EQ(verdict.decided_by, Decision::confidence);
  for (const GemmConfig& config : eight()) timer.broken.insert(to_string(Choice(config)));
  EXPECT_EQ(raced(timer).latency_us, std::nullopt);
}

TEST(Race, AWinnerThatTurnsOutWrongBringsBackThoseItBeat) {
  VirtualTimer timer = planted(4);
  Race race(timer.configs(), {});
  EXPECT_EQ(timer.run(race).winner, eight()[4]);
  race.fail(eight()[4]);
  const Verdict second = timer.run(race);
  EXPECT_EQ(second.winner, eight()[0]);  // 2 % behind
  EXPECT_EQ(second.decided_by, Decision::confidence);
  for (int i = 0; i < 8; ++i) {
    if (const Verdict verdict = race.verdict(); verdict.winner) race.fail(verdict.winner);
    timer.run(race);
  }
  EXPECT_EQ(race.verdict().winner, std::nullopt);  // those within the margin and behind it never replace it
}

TEST(Race, LeadersVariantsFollowInASecondStage) {
  VirtualTimer timer = planted(4);
  GemmConfig grouped = eight()[4];
  grouped.group_m = 4;
  const GemmConfig split = config_of(64, 32, 32, 4, 3, 4);
  ASSERT_EQ(eight()[4], config_of(64, 32, 32));
  GemmConfig of_a_loser = eight()[7];  // 60 % behind
  of_a_loser.group_m = 4;
  GemmConfig deeper = eight()[4];
  deeper.num_stages = 4;
  std::vector<GemmConfig> space = eight();
  space.insert(space.end(), {of_a_loser, deeper, grouped, split});
  timer.table.insert(timer.table.end(), {{of_a_loser, 10}, {deeper, 20}, {grouped, 78}, {split, 70}});
  Race race(eight(), {}, space);
  const Verdict verdict = timer.run(race);
  EXPECT_EQ(verdict.winner, split);
  EXPECT_EQ(timer.asked.count(to_string(Choice(of_a_loser))), 0u);
  EXPECT_EQ(timer.asked.count(to_string(Choice(deeper))), 0u);  // another tile's business
  EXPECT_EQ(timer.asked.count(to_string(Choice(grouped))), 1u);
  // no more than so many of each leader, the first of the space
  VirtualTimer again = timer;
  again.asked.clear();
  Race narrow(eight(), {.max_variants = 1}, space);
  EXPECT_EQ(again.run(narrow).winner, grouped);
  Race without(eight(), {.leaders = 0}, space);
  EXPECT_EQ(again.run(without).winner, eight()[4]);
}

TEST(Race, VariantsMayBeatALibraryThatNoTileBeat) {
  VirtualTimer timer = planted(4, 101);
  GemmConfig grouped = eight()[4];
  grouped.group_m = 16;
  timer.table.emplace_back(grouped, 94);
  Race race(eight(), {}, {grouped});
  EXPECT_EQ(timer.run(race).winner, grouped);
}

TEST(BlindRace, DrawsNoMoreThanHalfOfItsBudgetCanTime) {
  VirtualTimer timer = planted(4);
  BlindRace race(timer.configs(), {.budget_repeats = 24, .seed = 5});
  const std::vector<Trial> round = race.ask();
  EXPECT_EQ(round.size(), 5u);  // four of eight, and the library
  timer.answer(race, round);
  timer.run(race);
  BlindRace whole(timer.configs(), {});
  EXPECT_EQ(timer.run(whole).winner, eight()[4]);
}

}  // namespace
}  // namespace gemm_tuner
