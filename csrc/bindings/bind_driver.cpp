#include <optional>
#include <string>
#include <utility>

#include "bindings/bind.hpp"
#include "bindings/value.hpp"
#include "device/query.hpp"
#include "library/cublaslt.hpp"
#include "tuning/probe.hpp"

namespace gemm_tuner::bindings {
namespace {

/// Raises gemm_tuner.errors.<name>(sentence): the classes live in Python, where users find and document them.
py::object error_of(const char* name, const char* sentence) {
  return py::module_::import("gemm_tuner.errors").attr(name)(sentence);
}

void raise(const py::object& error) { PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr()); }

void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const NoDeviceError& error) {
    raise(error_of("NoDeviceError", error.what()));
  } catch (const NotBuiltError& error) {
    raise(error_of("NotBuiltError", error.what()));
  } catch (const LibraryError& error) {
    raise(error_of("LibraryError", error.what()));
  } catch (const DriverError& error) {
    const py::object raised = error_of("DriverError", error.what());
    raised.attr("code") = error.code_name;
    raise(raised);
  }
}

Driver open(const std::optional<std::string>& library) { return library ? Driver(*library) : Driver(); }

int counted_devices(const std::optional<std::string>& library) {
  const py::gil_scoped_release release;  // the driver's first start takes a fraction of a second
  try {
    return device_count(open(library));
  } catch (const NoDeviceError&) {
    return 0;
  }
}

DeviceSpec queried(std::optional<int> ordinal, std::optional<int> sm_carveout, std::optional<int> sm_budget,
                   std::optional<double> mps_percentage, const std::optional<std::string>& library) {
  const py::gil_scoped_release release;  // as above
  return query_device(open(library), ordinal, {sm_carveout, sm_budget, mps_percentage});
}

std::pair<int, std::string> queried_sms(std::optional<int> ordinal, std::optional<int> sm_carveout,
                                        std::optional<int> sm_budget, std::optional<double> mps_percentage,
                                        const std::optional<std::string>& library) {
  const py::gil_scoped_release release;  // as above
  const Driver driver = open(library);
  const SmLimits limits = sm_limits(driver, device_at(driver, ordinal), {sm_carveout, sm_budget, mps_percentage});
  const AvailableSms available = available_sms(limits);
  return {available.sms, available.decided_by};
}

int reached_sms(std::optional<int> ordinal, const std::optional<std::string>& library) {
  const Build built = build();
  if (built.probe_ptx.empty()) {
    throw NotBuiltError("This build of gemm_tuner has no CUDA probes: " + std::string(built.missing));
  }
  const py::gil_scoped_release release;  // launches a kernel and waits for it
  return count_reachable_sms(open(library), ordinal, built.probe_ptx);
}

py::dict build_facts() {
  const Build built = build();
  py::dict facts;
  facts["compiler"] = built.compiler;
  facts["type"] = built.type;
  facts["nvcc"] = built.nvcc;
  facts["has_cuda_probes"] = !built.probe_ptx.empty();
  facts["missing"] = built.missing;
  return facts;
}

}  // namespace

void bind_driver(py::module_& module) {
  using namespace py::literals;
  py::register_local_exception_translator(&translate);
  const auto ordinal = "ordinal"_a = py::none();
  const auto carveout = "sm_carveout"_a = py::none();
  const auto budget = "sm_budget"_a = py::none();
  const auto percentage = "mps_percentage"_a = py::none();
  const auto library = "library"_a = py::none();
  module.def("device_count", &counted_devices, library, "GPUs that the driver shows this process; 0 without a driver.");
  module.def("query_device", &queried, ordinal, py::kw_only(), carveout, budget, percentage, library,
             "The device of that number, as the driver describes it.");
  module.def("available_sms", &queried_sms, ordinal, py::kw_only(), carveout, budget, percentage, library,
             "SMs that a kernel launched now could use, and which limit decided.");
  module.def("count_reachable_sms", &reached_sms, ordinal, py::kw_only(), library,
             "Fills the GPU with a kernel and counts the distinct SMs that it ran on.");
  module.def("build", &build_facts, "How this extension was built, and what it lacked.");
}

}  // namespace gemm_tuner::bindings
