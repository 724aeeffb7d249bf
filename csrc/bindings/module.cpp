#include "bindings/bind.hpp"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The native core of gemm_tuner: device query, config space, performance model, racing tuner.";
  gemm_tuner::bindings::bind_problem(module);
  gemm_tuner::bindings::bind_config(module);
  gemm_tuner::bindings::bind_device(module);
  gemm_tuner::bindings::bind_driver(module);
  gemm_tuner::bindings::bind_calibrate(module);
  gemm_tuner::bindings::bind_launch(module);
  gemm_tuner::bindings::bind_library(module);
  gemm_tuner::bindings::bind_model(module);
  gemm_tuner::bindings::bind_native_op(module);
  gemm_tuner::bindings::bind_race(module);
  gemm_tuner::bindings::bind_timer(module);
}
