#include <pybind11/functional.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/value.hpp"
#include "tuning/timer.hpp"

namespace gemm_tuner::bindings {
namespace {

constexpr auto operand_fields = std::tuple{Field{"name", &Operand::name}, Field{"bytes", &Operand::bytes},
                                           Field{"fill", &Operand::fill}, Field{"shared", &Operand::shared}};

constexpr auto clock_fields =
    std::tuple{Field{"sm_mhz", &Clocks::sm_mhz}, Field{"memory_mhz", &Clocks::memory_mhz},
               Field{"temperature_c", &Clocks::temperature_c}, Field{"power_w", &Clocks::power_w}};

std::unique_ptr<Timer> make_timer(int ordinal, int sm_count, const std::optional<std::string>& library,
                                  const std::optional<std::string>& nvml) {
  const py::gil_scoped_release release;  // a context takes a fraction of a second to make
  return std::make_unique<Timer>(library ? Driver(*library) : Driver(), ordinal, sm_count,
                                 nvml.value_or("libnvidia-ml.so.1"));
}

std::uintptr_t stream_of(const Timer& timer) { return reinterpret_cast<std::uintptr_t>(timer.stream()); }

py::bytes read(Timer& timer, const std::string& name, int set) {
  std::string bytes;
  {
    const py::gil_scoped_release release;  // waits for the copy
    bytes = timer.read(name, set);
  }
  return bytes;
}

/// A function is timed by a handle of its own, which ends with this call. Called without the GIL: pybind11's
/// std::function takes it back for each call, and for its own end.
std::vector<double> time_function(Timer& timer, std::function<void(int)> enqueue, int repeats,
                                  std::optional<int> launches) {
  const int handle = timer.add(std::move(enqueue));
  try {
    auto latencies_us = timer.time(handle, repeats, launches);
    timer.unload(handle);
    return latencies_us;
  } catch (...) {
    timer.unload(handle);
    throw;
  }
}

void bind_values(py::module_& module) {
  using namespace py::literals;
  bind_value<Operand>(
      module, "Operand", "What a timed kernel reads or writes.", [](const Operand&) {}, operand_fields)
      .def(py::init([](const py::kwargs& kwargs) {
        Operand operand;
        assign(operand, operand_fields, kwargs);
        return operand;
      }));
  bind_value<Clocks>(
      module, "Clocks", "What the GPU did at one moment.", [](const Clocks&) {}, clock_fields)
      .def(py::init([](const py::kwargs& kwargs) {
        Clocks clocks;
        assign(clocks, clock_fields, kwargs);
        return clocks;
      }));
}

}  // namespace

void bind_timer(py::module_& module) {
  using namespace py::literals;
  using Released = py::call_guard<py::gil_scoped_release>;  // the driver works or waits; other threads need not
  bind_values(module);
  py::class_<Timer>(module, "Timer", "Runs compiled kernels on a GPU and times them with events.")
      .def(py::init(&make_timer), "ordinal"_a = 0, py::kw_only(), "sm_count"_a = 0, "library"_a = py::none(),
           "nvml"_a = py::none())
      .def_property_readonly("sm_count", &Timer::sm_count, "SMs that the kernels may use.")
      .def_property_readonly("l2_bytes", &Timer::l2_bytes, "L2 of the GPU; 0 where the driver does not say.")
      .def_property_readonly("stream", &stream_of, "The handle of the stream, for torch.cuda.ExternalStream.")
      .def("allocate", &Timer::allocate, "operands"_a, py::kw_only(), "seed"_a = 0, Released(),
           "Allocates and fills operand sets, and gives their number.")
      .def("address", &Timer::address, "name"_a, "operand_set"_a = 0, "Where the operand lies.")
      .def("fill", &Timer::fill, "name"_a, "fill"_a, "operand_set"_a = 0, Released(), "Fills one operand anew.")
      .def("read", &read, "name"_a, "operand_set"_a = 0, "What the operand holds.")
      .def("load", &Timer::load, "launches"_a, Released(), "Loads launches as one piece of work; its handle.")
      .def("add", &Timer::add, "enqueue"_a, Released(), "The same for a function that puts work on the stream.")
      .def("unload", &Timer::unload, "handle"_a, Released(), "Forgets it.")
      .def("run", &Timer::run, "handle"_a, "operand_set"_a = 0, Released(), "Does it once, and waits.")
      .def("time", &Timer::time, "handle"_a, "repeats"_a = 1, "launches"_a = py::none(), Released(),
           "Microseconds that it takes, once per repeat.")
      .def("time", &time_function, "enqueue"_a, "repeats"_a = 1, "launches"_a = py::none(), Released(),
           "The same for a function that is timed once.")
      .def("clocks", &Timer::clocks, "Clocks, temperature and power now; None where nothing tells them.");
}

}  // namespace gemm_tuner::bindings
