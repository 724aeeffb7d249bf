#include "bindings/bind.hpp"
#include "model/shared_memory.hpp"

namespace gemm_tuner::bindings {

void bind_shared_memory(pybind11::module_& module) {
  module.def("predicted_smem_bytes", &predicted_smem_bytes, pybind11::arg("problem"), pybind11::arg("config"),
             pybind11::arg("compute_capability"),
             "Bytes of dynamic shared memory per CTA, as Triton compiles the config for that architecture.");
}

}  // namespace gemm_tuner::bindings
