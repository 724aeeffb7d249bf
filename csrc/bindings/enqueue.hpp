// How Python calls work that a GPU is ready for.
#pragma once

#include <pybind11/stl.h>

#include <cstdint>
#include <vector>

#include "bindings/bind.hpp"
#include "device/driver.hpp"

namespace gemm_tuner::bindings {

template <class Work>
pybind11::tuple operands_of(const Work& work) {
  return pybind11::tuple(pybind11::cast(work.operands()));
}

template <class Work>
void enqueue(const Work& work, std::uintptr_t stream, const pybind11::args& operands) {
  std::vector<cuda::Address> addresses;
  for (const pybind11::handle& operand : operands) addresses.push_back(operand.cast<cuda::Address>());
  const pybind11::gil_scoped_release release;  // the driver waits where the stream is full
  work.enqueue(reinterpret_cast<cuda::Stream>(stream), addresses);
}

}  // namespace gemm_tuner::bindings
