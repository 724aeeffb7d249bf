// What module.cpp calls, one function per noun.
#pragma once

#include <pybind11/pybind11.h>

namespace gemm_tuner::bindings {

void bind_problem(pybind11::module_& module);
void bind_config(pybind11::module_& module);
void bind_device(pybind11::module_& module);
void bind_driver(pybind11::module_& module);
void bind_calibrate(pybind11::module_& module);
void bind_launch(pybind11::module_& module);
void bind_library(pybind11::module_& module);
void bind_model(pybind11::module_& module);
void bind_native_op(pybind11::module_& module);
void bind_race(pybind11::module_& module);
void bind_timer(pybind11::module_& module);

}  // namespace gemm_tuner::bindings
