#include <pybind11/stl.h>

#include <optional>
#include <tuple>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/value.hpp"
#include "model/constants.hpp"
#include "model/legality.hpp"
#include "model/library.hpp"
#include "model/occupancy.hpp"
#include "model/predict.hpp"
#include "model/rank.hpp"
#include "model/shared_memory.hpp"
#include "model/space.hpp"
#include "model/variants.hpp"

namespace gemm_tuner::bindings {
namespace {

constexpr auto resource_fields =
    std::tuple{Field{"registers_per_thread", &KernelResources::registers_per_thread},
               Field{"spill_bytes", &KernelResources::spill_bytes}, Field{"smem_bytes", &KernelResources::smem_bytes},
               Field{"tensor_core_instructions", &KernelResources::tensor_core_instructions}};

constexpr auto prediction_fields = std::tuple{Field{"config", &Prediction::config},
                                              Field{"resources", &Prediction::resources},
                                              Field{"latency_us", &Prediction::latency_us},
                                              Field{"launch_us", &Prediction::launch_us},
                                              Field{"prologue_epilogue_us", &Prediction::prologue_epilogue_us},
                                              Field{"main_loop_us", &Prediction::main_loop_us},
                                              Field{"reduction_us", &Prediction::reduction_us},
                                              Field{"tensor_bound_us", &Prediction::tensor_bound_us},
                                              Field{"smem_bound_us", &Prediction::smem_bound_us},
                                              Field{"l2_bound_us", &Prediction::l2_bound_us},
                                              Field{"dram_bound_us", &Prediction::dram_bound_us},
                                              Field{"latency_bound_us", &Prediction::latency_bound_us},
                                              Field{"dram_bytes", &Prediction::dram_bytes},
                                              Field{"ctas", &Prediction::ctas},
                                              Field{"waves", &Prediction::waves},
                                              Field{"ctas_per_sm", &Prediction::ctas_per_sm},
                                              Field{"sm_utilization", &Prediction::sm_utilization}};

constexpr auto constant_fields =
    std::tuple{Field{"launch_us", &ModelConstants::launch_us},
               Field{"memory_latency_clk", &ModelConstants::memory_latency_clk},
               Field{"l2_bytes_per_clk_per_sm", &ModelConstants::l2_bytes_per_clk_per_sm},
               Field{"l2_hit_fraction", &ModelConstants::l2_hit_fraction},
               Field{"dram_efficiency", &ModelConstants::dram_efficiency},
               Field{"smem_bytes_per_clk", &ModelConstants::smem_bytes_per_clk},
               Field{"tensor_efficiency", &ModelConstants::tensor_efficiency},
               Field{"warpgroup_gain", &ModelConstants::warpgroup_gain},
               Field{"mma_per_sm_in_flight", &ModelConstants::mma_per_sm_in_flight},
               Field{"iteration_clk", &ModelConstants::iteration_clk},
               Field{"load_issue_clk", &ModelConstants::load_issue_clk},
               Field{"cta_clk", &ModelConstants::cta_clk},
               Field{"store_bytes_per_clk_per_sm", &ModelConstants::store_bytes_per_clk_per_sm},
               Field{"overlap", &ModelConstants::overlap},
               Field{"short_row_bytes", &ModelConstants::short_row_bytes},
               Field{"narrow_load_clk", &ModelConstants::narrow_load_clk},
               Field{"exposed", &ModelConstants::exposed},
               Field{"contention", &ModelConstants::contention},
               Field{"library_contention", &ModelConstants::library_contention},
               Field{"library_overhead", &ModelConstants::library_overhead},
               Field{"library_edge", &ModelConstants::library_edge},
               Field{"library_narrow", &ModelConstants::library_narrow}};

template <class Struct, class Fields>
py::class_<Struct> bind_plain(py::module_& module, const char* name, const char* doc, const Fields& fields) {
  return bind_value<Struct>(
             module, name, doc, [](const Struct&) {}, fields)
      .def(py::init([fields](const py::kwargs& kwargs) {
        Struct value;
        assign(value, fields, kwargs);
        return value;
      }));
}

/// One latency per (problem, config) pair, for fitting and scoring; infinite where the config does not fit.
std::vector<double> latencies_us(const std::vector<GemmProblem>& problems, const std::vector<GemmConfig>& configs,
                                 const DeviceSpec& device, const ModelConstants& constants) {
  if (problems.size() != configs.size()) throw std::invalid_argument("one config per problem is wanted");
  const py::gil_scoped_release unlocked;
  std::vector<double> result(problems.size());
  for (std::size_t i = 0; i < problems.size(); ++i) {
    const KernelResources resources = estimate_resources(problems[i], configs[i], device.compute_capability);
    result[i] = resident_ctas(resources, configs[i].num_warps, device) < 1
                    ? std::numeric_limits<double>::infinity()
                    : predict(problems[i], configs[i], device, resources, constants).latency_us;
  }
  return result;
}

}  // namespace

void bind_model(py::module_& module) {
  bind_plain<KernelResources>(module, "KernelResources",
                              "What a compiled kernel needs; from the compiler, or estimated before it has run.",
                              resource_fields);
  bind_plain<Prediction>(module, "Prediction",
                         "A predicted latency, and what it is made of. Nothing here was measured.", prediction_fields);
  bind_plain<ModelConstants>(module, "ModelConstants", "The numbers of the performance model that no device reports.",
                             constant_fields);
  const auto constants = py::arg_v("constants", ModelConstants{}, "ModelConstants()");
  module.def("predict", &predict, py::arg("problem"), py::arg("config"), py::arg("device"),
             py::arg("resources") = std::nullopt, constants, "How long the config would take on that device, and why.");
  module.def("estimate_resources", &estimate_resources, py::arg("problem"), py::arg("config"),
             py::arg("compute_capability"), "Resources as far as they can be told without compiling.");
  module.def("predicted_smem_bytes", &predicted_smem_bytes, py::arg("problem"), py::arg("config"),
             py::arg("compute_capability"), "Shared memory of one CTA as Triton would lay it out.");
  module.def("tensor_core_rate", &tensor_core_rate, py::arg("problem"), py::arg("device"),
             "Multiply-adds per clock of one SM's tensor cores for this problem.");
  module.def("has_tensor_core_path", &has_tensor_core_path, py::arg("problem"), py::arg("device"),
             "Has the device tensor cores for the problem's dtype, and does Triton emit code for them?");
  module.def("why_illegal", &why_illegal, py::arg("problem"), py::arg("config"), py::arg("device"),
             "What keeps the config from running there, as a sentence; None where it is legal.");
  module.def("space", &space, py::arg("problem"), py::arg("device"), py::call_guard<py::gil_scoped_release>(),
             "Legal candidates that the problem's size and the available SMs leave standing, in a fixed order.");
  module.def("family_variants", &family_variants, py::arg("problem"), py::arg("config"), py::arg("device"),
             "The tiled config's variants with a fixed grid of as many CTAs as are resident at once.");
  module.def("rank", &rank, py::arg("problem"), py::arg("device"), py::arg("top_k") = 8,
             py::arg("configs") = std::nullopt, py::call_guard<py::gil_scoped_release>(),
             "The top_k best predictions, best first.");
  module.def("predict_library", &predict_library, py::arg("problem"), py::arg("device"), constants,
             "A rough prediction of ATen's latency in microseconds.");
  module.def("latencies_us", &latencies_us, py::arg("problems"), py::arg("configs"), py::arg("device"), constants,
             "One predicted latency per (problem, config) pair; infinite where the config does not fit.");
}

}  // namespace gemm_tuner::bindings
