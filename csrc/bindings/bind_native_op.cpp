#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/value.hpp"
#include "launch/native_op.hpp"
#include "library/matmul.hpp"

namespace gemm_tuner::bindings {
namespace {

using Sizes = std::vector<std::int64_t>;

/// Row-major.
Sizes strides_of(const Sizes& sizes) {
  Sizes strides(sizes.size(), 1);
  for (std::size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<std::int64_t>(sizes[i], 1);
  return strides;
}

/// The place of an argument, or (sizes, dtype) of a tensor to be made.
Origin origin_from(const NativeOp& op, const std::string& name, const py::object& given) {
  if (py::isinstance<py::tuple>(given) && py::len(given) == 2) {
    const auto sizes = given[py::int_(0)].cast<Sizes>();
    return Made{sizes, strides_of(sizes), op.table().dtype(given[py::int_(1)].cast<std::string>())};
  }
  if (!given.is_none()) return static_cast<std::size_t>(integer_from<std::uint32_t>(name.c_str(), given));
  throw py::value_error("the kernel takes an operand '" + name +
                        "': operands must give the place of an argument, or (sizes, dtype) of a tensor to make");
}

template <class Kernel>
void insert(NativeOp& op, const NativeOp::Key& key, const std::shared_ptr<Kernel>& kernel, const py::dict& operands,
            const std::string& result) {
  KernelCall call{kernel, {}, kernel->operands().size()};
  for (const std::string& name : kernel->operands()) {
    if (name == result) call.result = call.origins.size();
    call.origins.push_back(origin_from(op, name, operands.attr("get")(name)));
  }
  op.insert(key, std::move(call));
}

std::unique_ptr<NativeOp> make_native_op(const std::string& name_space, const std::string& name, const std::string& key,
                                         const std::string& arguments, const std::string& libtorch_cpu,
                                         const std::optional<std::string>& libtorch_cuda) {
  return std::make_unique<NativeOp>(torch_abi::Table(libtorch_cpu, libtorch_cuda.value_or("")), name_space, name, key,
                                    arguments);
}

}  // namespace

void bind_native_op(py::module_& module) {
  using namespace py::literals;
  py::class_<NativeOp>(module, "NativeOp", "An operator of torch that launches kernels without touching Python.")
      .def(py::init(&make_native_op), py::kw_only(), "namespace"_a, "name"_a, "key"_a, "arguments"_a, "libtorch_cpu"_a,
           "libtorch_cuda"_a = py::none())
      .def("missed", &NativeOp::missed, "The key of this thread's last call, where there was no answer to it.")
      .def("launch", &insert<LoadedKernel>, "key"_a, "kernel"_a, py::kw_only(), "operands"_a, "result"_a,
           "Calls of that key launch the kernel.")
      .def("launch", &insert<LibraryKernel>, "key"_a, "kernel"_a, py::kw_only(), "operands"_a, "result"_a,
           "The same for an algorithm of the library's.")
      .def(
          "hand_on",
          [](NativeOp& op, const NativeOp::Key& key, std::string to, std::vector<std::size_t> arguments) {
            op.insert(key, OperatorCall{std::move(to), std::move(arguments)});
          },
          "key"_a, "to"_a, "arguments"_a, "Calls of that key are handed on to another operator.")
      .def(
          "leave", [](NativeOp& op, const NativeOp::Key& key) { op.insert(key, NothingToLaunch{}); }, "key"_a,
          "Calls of that key are given None, and are not missed.")
      .def("clear", &NativeOp::clear, "Forgets every answer.")
      .def("__len__", &NativeOp::size, "How many answers are known.");
}

}  // namespace gemm_tuner::bindings
