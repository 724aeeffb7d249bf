#include <pybind11/stl.h>

#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/value.hpp"
#include "tuning/race.hpp"
#include "tuning/strategy.hpp"

namespace gemm_tuner::bindings {
namespace {

constexpr auto option_fields = std::tuple{Field{"margin", &RaceOptions::margin},
                                          Field{"tolerance", &RaceOptions::tolerance},
                                          Field{"deviations", &RaceOptions::deviations},
                                          Field{"repeats", &RaceOptions::repeats},
                                          Field{"max_rounds", &RaceOptions::max_rounds},
                                          Field{"leaders", &RaceOptions::leaders},
                                          Field{"max_variants", &RaceOptions::max_variants},
                                          Field{"budget_repeats", &RaceOptions::budget_repeats},
                                          Field{"budget_s", &RaceOptions::budget_s},
                                          Field{"seed", &RaceOptions::seed}};

constexpr auto standing_fields = std::tuple{Field{"choice", &Standing::choice}, Field{"state", &Standing::state},
                                            Field{"latency_us", &Standing::latency_us},
                                            Field{"spread", &Standing::spread}, Field{"repeats", &Standing::repeats}};

constexpr auto verdict_fields =
    std::tuple{Field{"winner", &Verdict::winner},         Field{"latency_us", &Verdict::latency_us},
               Field{"spread", &Verdict::spread},         Field{"library_us", &Verdict::library_us},
               Field{"rounds", &Verdict::rounds},         Field{"repeats", &Verdict::repeats},
               Field{"decided_by", &Verdict::decided_by}, Field{"standings", &Verdict::standings}};

template <class Struct, class Check, class... Fields>
void bind_plain(py::module_& module, const char* name, const char* doc, Check check, std::tuple<Fields...> fields) {
  bind_value<Struct>(module, name, doc, check, fields).def(py::init([=](const py::kwargs& kwargs) {
    Struct value;
    assign(value, fields, kwargs);
    check(value);
    return value;
  }));
}

template <class T>
void bind_strategy(py::module_& module, const char* name, const char* doc, const py::arg_v& options) {
  py::class_<T, Strategy>(module, name, doc)
      .def(py::init<const std::vector<GemmConfig>&, const RaceOptions&>(), py::arg("candidates"), options);
}

}  // namespace

void bind_race(py::module_& module) {
  bind_plain<RaceOptions>(
      module, "RaceOptions", "How a race decides and what it may cost.", [](const RaceOptions& o) { validate(o); },
      option_fields);
  bind_plain<Standing>(
      module, "Standing", "What became of one choice in a race.", [](const Standing&) {}, standing_fields);
  bind_plain<Verdict>(module, "Verdict", "Who won and how sure that is.", [](const Verdict&) {}, verdict_fields);
  py::class_<Strategy>(module, "Strategy", "How repeats are spent on candidates: it asks, the caller times and tells.")
      .def(
          "ask",
          [](Strategy& self, double elapsed_s) {
            std::vector<std::pair<Choice, int>> round;
            for (const Trial& trial : self.ask(elapsed_s)) round.emplace_back(trial.choice, trial.repeats);
            return round;
          },
          py::arg("elapsed_s") = 0.0, "The next round: what to time, and how many repeats of each.")
      .def("tell", &Strategy::tell, py::arg("choice"), py::arg("latencies_us"),
           "The times of one choice of this round.")
      .def("fail", &Strategy::fail, py::arg("choice"), "Takes the choice out: it does not run, or gives wrong numbers.")
      .def("verdict", &Strategy::verdict, "The answer as things stand, at any time.");
  const auto options = py::arg_v("options", RaceOptions{}, "RaceOptions()");
  py::class_<Race, Strategy>(module, "Race", "The racing tuner.")
      .def(py::init<const std::vector<GemmConfig>&, const RaceOptions&, std::vector<GemmConfig>,
                    const std::vector<LibraryAlgorithm>&>(),
           py::arg("candidates"), options, py::arg("space") = std::vector<GemmConfig>{},
           py::arg("algorithms") = std::vector<LibraryAlgorithm>{});
  bind_strategy<BlindRace>(module, "BlindRace", "A race of candidates drawn at random.", options);
  bind_strategy<Exhaustive>(module, "Exhaustive", "Every candidate gets the same repeats, once.", options);
  bind_strategy<RandomSearch>(module, "RandomSearch", "One candidate after the other, in random order.", options);
}

}  // namespace gemm_tuner::bindings
