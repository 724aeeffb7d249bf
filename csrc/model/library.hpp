// A rough prediction of the library's (ATen: cuBLAS) latency, so that a machine without a GPU can weigh the two.
#pragma once

#include "model/predict.hpp"

namespace gemm_tuner {

/// Microseconds: the best of a fixed menu of CUTLASS-like tiles under the same model. Its error on a public A100
/// collection is reported by benchmarks/model_quality.py. For mm_plus_mm it is two products, the second adding to the C
/// that it reads.
double predict_library(const GemmProblem& problem, const DeviceSpec& device, const ModelConstants& constants = {});

}  // namespace gemm_tuner
