#include <optional>
#include <string>
#include <utility>

#include "bindings/bind.hpp"
#include "bindings/value.hpp"
#include "tuning/calibrate.hpp"

namespace gemm_tuner::bindings {
namespace {

void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const CalibrationError& error) {
    const py::object raised = py::module_::import("gemm_tuner.errors").attr("CalibrationError")(error.what());
    PyErr_SetObject(py::type::handle_of(raised).ptr(), raised.ptr());
  }
}

std::pair<DeviceSpec, py::dict> measured(const DeviceSpec& asked, std::optional<int> ordinal,
                                         const std::optional<std::string>& library) {
  Calibration calibration;
  {
    const py::gil_scoped_release release;  // two seconds of kernels
    calibration = calibrate(library ? Driver(*library) : Driver(), ordinal, asked, build());
  }
  py::dict figures;
  for (const auto& [name, figure] : calibration.figures) figures[name.c_str()] = std::pair{figure.value, figure.spread};
  return {calibration.spec, figures};
}

}  // namespace

void bind_calibrate(py::module_& module) {
  using namespace py::literals;
  py::register_local_exception_translator(&translate);
  module.def("calibrate", &measured, "asked"_a, "ordinal"_a = py::none(), py::kw_only(), "library"_a = py::none(),
             "The device as our own kernels measure it, and the figures: value and spread by name.");
}

}  // namespace gemm_tuner::bindings
