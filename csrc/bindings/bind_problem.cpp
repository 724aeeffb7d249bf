#include <tuple>

#include "bindings/bind.hpp"
#include "bindings/value.hpp"
#include "gemm/problem.hpp"

namespace gemm_tuner::bindings {
namespace {

constexpr auto fields = std::tuple{Field{"op", &GemmProblem::op},
                                   Field{"m", &GemmProblem::m},
                                   Field{"n", &GemmProblem::n},
                                   Field{"k", &GemmProblem::k},
                                   Field{"batch", &GemmProblem::batch},
                                   Field{"a_dtype", &GemmProblem::a_dtype},
                                   Field{"b_dtype", &GemmProblem::b_dtype},
                                   Field{"out_dtype", &GemmProblem::out_dtype},
                                   Field{"precision", &GemmProblem::precision},
                                   Field{"scaling", &GemmProblem::scaling},
                                   Field{"layout", &GemmProblem::layout},
                                   Field{"alignment", &GemmProblem::alignment},
                                   Field{"epilogue", &GemmProblem::epilogue}};

DType usual_result_of(const GemmProblem& problem) {
  switch (problem.a_dtype) {
    case DType::int8:
      return problem.op == Op::scaled_mm ? DType::bfloat16 : DType::int32;
    case DType::float8_e4m3fn:
    case DType::float8_e5m2:
      return DType::bfloat16;
    default:
      return problem.a_dtype;
  }
}

/// `dtype` stands for both operands, and what is not given follows from what is.
GemmProblem make_problem(const py::kwargs& kwargs) {
  if (kwargs.contains("dtype")) {
    for (const char* name : {"a_dtype", "b_dtype"}) {
      if (!kwargs.contains(name)) kwargs[name] = kwargs["dtype"];
    }
    kwargs.attr("pop")("dtype");
  }
  GemmProblem problem;
  for (const char* name : {"m", "n", "k"}) {
    if (!kwargs.contains(name)) throw py::type_error(std::string("missing argument '") + name + "'");
  }
  assign(problem, fields, kwargs);
  if (!kwargs.contains("out_dtype")) problem.out_dtype = usual_result_of(problem);
  validate(problem);
  if (!kwargs.contains("alignment")) {
    problem.alignment = contiguous_alignment(problem.m, problem.n, problem.k, problem.layout);
  }
  return problem;
}

}  // namespace

void bind_problem(py::module_& module) {
  bind_value<GemmProblem>(
      module, "GemmProblem", "What is to be computed: C[batch, m, n] = epilogue(A[batch, m, k] @ B[batch, k, n]).",
      [](const GemmProblem& problem) { validate(problem); }, fields)
      .def(py::init(&make_problem))
      .def("__str__", [](const GemmProblem& self) { return to_string(self); })
      .def_property_readonly("dtype", [](const GemmProblem& self) { return to_python(self.a_dtype); });
}

}  // namespace gemm_tuner::bindings
