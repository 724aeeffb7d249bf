"""GEMM autotuning for the GPUs that torch.compile's max-autotune refuses."""

from ._core import DeviceSpec, FmaRates, GemmConfig, GemmProblem

__all__ = ["DeviceSpec", "FmaRates", "GemmConfig", "GemmProblem"]
