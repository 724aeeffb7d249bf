#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "round_device.hpp"
#include "tuning/race.hpp"
#include "virtual_timer.hpp"

namespace gemm_tuner {
namespace {

const GemmConfig small = config_of(32, 32, 32), middle = config_of(64, 64, 32), large = config_of(128, 128, 32);

VirtualTimer three() { return {.library_us = 100, .table = {{small, 150}, {middle, 90}, {large, 97}}}; }

std::string sentence_of(const auto& job) {
  try {
    job();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no complaint";
}

TEST(Strategy, RefusesOptionsThatMakeNoSense) {
  const std::vector<GemmConfig> none;
  const auto said = [&](auto change) {
    RaceOptions options;
    change(options);
    return sentence_of([&] { Exhaustive strategy(none, options); });
  };
  EXPECT_EQ(said([](RaceOptions& o) { o.repeats = 0; }), "repeats must be at least 1, got 0");
  EXPECT_EQ(said([](RaceOptions& o) { o.max_rounds = 0; }), "max_rounds must be at least 1, got 0");
  EXPECT_EQ(said([](RaceOptions& o) { o.budget_repeats = 1; }), "budget_repeats must be at least 2, got 1");
  EXPECT_EQ(said([](RaceOptions& o) { o.margin = 1; }),
            "margin must be a share of at least 0 and below 1, got 1.000000");
  EXPECT_NE(said([](RaceOptions& o) { o.deviations = NAN; }).find("deviations must be above 0"), std::string::npos);
  EXPECT_NE(said([](RaceOptions& o) { o.budget_s = -1; }).find("budget_s"), std::string::npos);
  EXPECT_EQ(said([](RaceOptions&) {}), "no complaint");
  EXPECT_EQ(sentence_of([] { Exhaustive strategy({small, middle, small}, {}); }),
            "tiled 32x32x32 w4 s3 g8 is among the candidates twice");
}

TEST(Strategy, IsAToldDialogue) {
  Exhaustive strategy({small, middle}, {});
  EXPECT_EQ(sentence_of([&] { strategy.tell(small, {1.0}); }),
            "tiled 32x32x32 w4 s3 g8 was not asked for in this round");
  const std::vector<Trial> round = strategy.ask();
  ASSERT_EQ(round.size(), 3u);
  EXPECT_EQ(sentence_of([&] { strategy.tell(small, {}); }),
            "tiled 32x32x32 w4 s3 g8 was told no time; fail it instead");
  for (const double wrong : {0.0, -1.0, static_cast<double>(INFINITY), static_cast<double>(NAN)}) {
    EXPECT_NE(sentence_of([&] { strategy.tell(small, {1.0, wrong}); }).find("above 0 and finite"), std::string::npos);
  }
  strategy.tell(small, {50.0});
  strategy.tell(std::nullopt, {100.0});
  EXPECT_EQ(sentence_of([&] { strategy.ask(); }),
            "tiled 64x64x32 w4 s3 g8 was asked for and not answered: tell its times, or fail it, before asking again");
  EXPECT_EQ(sentence_of([&] { strategy.fail(large); }), "tiled 128x128x32 w4 s3 g8 is none of the contestants");
  EXPECT_EQ(strategy.verdict().winner, small);  // as things stand
  strategy.fail(middle);
  EXPECT_TRUE(strategy.ask().empty());
  EXPECT_EQ(strategy.verdict().winner, small);
}

TEST(Exhaustive, TimesEverythingAlikeOnceAndTakesTheQuickest) {
  VirtualTimer timer = three();
  Exhaustive strategy(timer.configs(), {.repeats = 25, .budget_repeats = 1000});
  const Verdict verdict = timer.run(strategy);
  EXPECT_EQ(verdict.winner, middle);
  EXPECT_EQ(verdict.latency_us, 90);
  EXPECT_EQ(verdict.library_us, 100);
  EXPECT_EQ(verdict.spread, 0);
  EXPECT_EQ(verdict.rounds, 1);
  EXPECT_EQ(verdict.repeats, 100);
  EXPECT_EQ(verdict.decided_by, Decision::budget);
  std::vector<Choice> order;
  for (const Standing& line : verdict.standings) {
    order.push_back(line.choice);
    EXPECT_EQ(line.repeats, 25);
  }
  const std::vector<Choice> expected{middle, large, std::nullopt, small};
  EXPECT_EQ(order, expected);
}

TEST(Exhaustive, TheLibraryStaysWithinTheMargin) {
  for (const auto& [candidate_us, margin, replaced] :
       {std::tuple{97.9, 0.02, true}, {98.1, 0.02, false}, {99.9, 0.0, true}, {60.0, 0.5, false}}) {
    VirtualTimer timer{.library_us = 100, .table = {{small, candidate_us}}};
    Exhaustive strategy(timer.configs(), {.margin = margin});
    EXPECT_EQ(timer.run(strategy).winner.has_value(), replaced) << candidate_us << " at " << margin;
  }
}

TEST(Exhaustive, SpreadsABudgetThatIsTooSmall) {
  VirtualTimer timer = three();
  Exhaustive strategy(timer.configs(), {.repeats = 25, .budget_repeats = 10});
  EXPECT_EQ(timer.run(strategy).repeats, 8);  // two of each of four
  // with fewer repeats than choices the best predicted are timed
  VirtualTimer poor = three();
  Exhaustive scant(poor.configs(), {.budget_repeats = 2});
  const Verdict verdict = poor.run(scant);
  EXPECT_EQ(verdict.repeats, 2);
  EXPECT_EQ(verdict.standings.size(), 2u);
  EXPECT_EQ(poor.asked.count(to_string(small)), 1u);
}

TEST(RandomSearch, DrawsOneAfterTheOtherUntilTheBudgetIsGone) {
  VirtualTimer timer = three();
  RandomSearch all(timer.configs(), {.repeats = 4});
  const Verdict verdict = timer.run(all);
  EXPECT_EQ(verdict.winner, middle);
  EXPECT_EQ(verdict.rounds, 3);
  EXPECT_EQ(verdict.repeats, 16);
  VirtualTimer again = three();
  RandomSearch some(again.configs(), {.repeats = 4, .budget_repeats = 12});
  EXPECT_EQ(again.run(some).repeats, 12);  // the library and two candidates
  // other seeds draw others first
  std::vector<Choice> first;
  for (int seed = 0; seed < 20; ++seed) {
    RandomSearch one(three().configs(), {.seed = seed});
    for (const Trial& trial : one.ask()) {
      if (trial.choice) first.push_back(trial.choice);
    }
  }
  for (const GemmConfig& config : {small, middle, large}) EXPECT_GT(std::count(first.begin(), first.end(), config), 0);
}

TEST(Shuffler, IsTheSameEverywhereAndReachesEveryOrder) {
  std::vector<int> values{0, 1, 2, 3, 4, 5, 6, 7};
  Shuffler(7).shuffle(values);
  const std::vector<int> expected{1, 4, 5, 2, 6, 0, 3, 7};  // what it has always been: kept races can be run again
  EXPECT_EQ(values, expected);
  std::set<std::vector<int>> orders;
  for (int seed = 0; seed < 200; ++seed) {
    std::vector<int> few{0, 1, 2};
    Shuffler(seed).shuffle(few);
    orders.insert(few);
  }
  EXPECT_EQ(orders.size(), 6u);
}

}  // namespace
}  // namespace gemm_tuner
