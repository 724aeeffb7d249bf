#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/enqueue.hpp"
#include "bindings/value.hpp"
#include "library/matmul.hpp"
#include "library/words.hpp"

namespace gemm_tuner::bindings {
namespace {

constexpr auto fields = std::tuple{Field{"words", &LibraryAlgorithm::words},
                                   Field{"id", &LibraryAlgorithm::id},
                                   Field{"tile", &LibraryAlgorithm::tile},
                                   Field{"stages", &LibraryAlgorithm::stages},
                                   Field{"split_k", &LibraryAlgorithm::split_k},
                                   Field{"reduction", &LibraryAlgorithm::reduction},
                                   Field{"swizzle", &LibraryAlgorithm::swizzle},
                                   Field{"custom_option", &LibraryAlgorithm::custom_option},
                                   Field{"workspace_bytes", &LibraryAlgorithm::workspace_bytes}};

using Strides = std::array<std::int64_t, 4>;  // a_pitch, b_pitch, a_batch_stride, b_batch_stride

std::shared_ptr<LibraryHome> open(const std::string& path, int ordinal, const std::optional<std::string>& driver) {
  const py::gil_scoped_release release;  // a handle takes a fraction of a second to make
  return std::make_shared<LibraryHome>(CublasLt(path), driver ? Driver(*driver) : Driver(), ordinal);
}

std::shared_ptr<LibraryProduct> product(const std::shared_ptr<LibraryHome>& home, const GemmProblem& problem,
                                        const Strides& strides, int sm_count) {
  const auto [a_pitch, b_pitch, a_batch, b_batch] = strides;
  return std::make_shared<LibraryProduct>(home, problem, OperandStrides{a_pitch, b_pitch, a_batch, b_batch}, sm_count);
}

std::shared_ptr<LibraryKernel> load(const std::shared_ptr<LibraryProduct>& self, const LibraryAlgorithm& algorithm) {
  const py::gil_scoped_release release;  // the library may load what it runs
  return std::make_shared<LibraryKernel>(self, algorithm);
}

std::size_t version_of(const std::string& path) {
  const py::gil_scoped_release release;  // a library of half a gigabyte
  return CublasLt(path).version();
}

}  // namespace

void bind_library(py::module_& module) {
  using namespace py::literals;
  bind_value<LibraryAlgorithm>(
      module, "LibraryAlgorithm", "How the library computes it: one algorithm of cuBLASLt's.",
      [](const LibraryAlgorithm& algorithm) { validate(algorithm); }, fields)
      .def(py::init([](const py::kwargs& kwargs) {
        LibraryAlgorithm algorithm;
        assign(algorithm, fields, kwargs);
        validate(algorithm);
        return algorithm;
      }))
      .def("__str__", [](const LibraryAlgorithm& self) { return to_string(self); });
  py::class_<LibraryKernel, std::shared_ptr<LibraryKernel>>(module, "LibraryKernel",
                                                            "An algorithm that a GPU is ready for.")
      .def_property_readonly("operands", &operands_of<LibraryKernel>,
                             "Names of the operands whose addresses it takes, in order.")
      .def_property_readonly("workspace_bytes", &LibraryKernel::workspace_bytes, "Of the operand `parts`.")
      .def("__call__", &enqueue<LibraryKernel>, "stream"_a,
           "Puts the product on the stream, on the operands at these addresses.");
  py::class_<LibraryProduct, std::shared_ptr<LibraryProduct>>(module, "LibraryProduct",
                                                              "A problem as cuBLASLt is told of it.")
      .def("algorithms", &LibraryProduct::algorithms, py::kw_only(), "workspace_bytes"_a, "count"_a,
           py::call_guard<py::gil_scoped_release>(), "What the library's heuristic has, best predicted first.")
      .def("load", &load, "algorithm"_a, "Makes the GPU ready for one of them.");
  py::class_<LibraryHome, std::shared_ptr<LibraryHome>>(module, "CublasLt", "cuBLASLt on one GPU.")
      .def(py::init(&open), "path"_a, py::kw_only(), "ordinal"_a = 0, "library"_a = py::none())
      .def_property_readonly(
          "version", [](const LibraryHome& self) { return self.library.version(); }, "130100 for cuBLAS 13.1.0.")
      .def("product", &product, "problem"_a, "strides"_a, py::kw_only(), "sm_count"_a = 0,
           "The problem, described for operands that lie so far apart.");
  module.def("cublaslt_version", &version_of, "path"_a, "The version of that library; needs no GPU.");
  module.def("why_library_lacks", &why_library_lacks, "problem"_a,
             "Why one call of cuBLASLt cannot compute the problem; None where it may.");
}

}  // namespace gemm_tuner::bindings
