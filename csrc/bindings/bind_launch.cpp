#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/enqueue.hpp"
#include "bindings/value.hpp"
#include "launch/launcher.hpp"

namespace gemm_tuner::bindings {
namespace {

/// None, the name of an operand, ("i32", value) or ("i64", value).
Argument argument_from(const py::handle& given) {
  if (given.is_none()) return nullptr;
  if (py::isinstance<py::str>(given)) return given.cast<std::string>();
  if (py::isinstance<py::tuple>(given) && py::len(given) == 2) {
    const py::object kind = given[py::int_(0)];
    const py::object value = given[py::int_(1)];
    if (kind.equal(py::str("i32"))) return integer_from<std::int32_t>("an i32 argument", value);
    if (kind.equal(py::str("i64"))) return integer_from<std::int64_t>("an i64 argument", value);
  }
  throw py::type_error(
      "an argument of a launch must be the name of an operand, ('i32', value), ('i64', value) or None, got " +
      std::string(py::repr(given)));
}

Launch make_launch(const py::bytes& cubin, std::string entry, std::array<int, 3> grid, const py::sequence& arguments,
                   int num_warps, int smem_bytes, long long global_scratch_bytes) {
  std::vector<Argument> converted;
  for (const py::handle& argument : arguments) converted.push_back(argument_from(argument));
  return {std::string(cubin),   std::move(entry),    grid, num_warps, smem_bytes,
          std::move(converted), global_scratch_bytes};
}

std::unique_ptr<Launcher> make_launcher(const std::optional<std::string>& library, int ordinal) {
  const py::gil_scoped_release release;  // a context takes a fraction of a second to make
  return std::make_unique<Launcher>(library ? Driver(*library) : Driver(), ordinal);
}

std::shared_ptr<LoadedKernel> load(Launcher& launcher, const std::vector<Launch>& launches) {
  const py::gil_scoped_release release;  // the driver copies the code to the device
  return std::make_shared<LoadedKernel>(launcher.load(launches));
}

}  // namespace

void bind_launch(py::module_& module) {
  using namespace py::literals;
  py::class_<Launch>(module, "Launch", "A compiled kernel, and how it is to be launched.")
      .def(py::init(&make_launch), py::kw_only(), "cubin"_a, "entry"_a, "grid"_a, "arguments"_a, "num_warps"_a = 4,
           "smem_bytes"_a = 0, "global_scratch_bytes"_a = 0)
      .def_readonly("entry", &Launch::entry, "The kernel in the cubin.")
      .def_readonly("grid", &Launch::grid, "CTAs along x, y and z.")
      .def_readonly("num_warps", &Launch::num_warps, "Warps of a CTA.")
      .def_readonly("smem_bytes", &Launch::smem_bytes, "Dynamic shared memory of a CTA.");
  py::class_<LoadedKernel, std::shared_ptr<LoadedKernel>>(module, "LoadedKernel", "Launches that a GPU is ready for.")
      .def_property_readonly("operands", &operands_of<LoadedKernel>,
                             "Names of the operands whose addresses it takes, in order.")
      .def_property_readonly("scratch_bytes", &LoadedKernel::scratch_bytes, "Of the operand `global_scratch`.")
      .def("__call__", &enqueue<LoadedKernel>, "stream"_a,
           "Puts the launches on the stream, on the operands at these addresses.");
  py::class_<Launcher>(module, "Launcher", "Loads kernels on a GPU, each once.")
      .def(py::init(&make_launcher), "library"_a = py::none(), "ordinal"_a = 0)
      .def("load", &load, "launches"_a, "Loads launches as one piece of work.")
      .def("__len__", &Launcher::loaded, "How many functions are loaded.");
}

}  // namespace gemm_tuner::bindings
