"""GEMM autotuning for the GPUs that torch.compile's max-autotune refuses."""

from ._core import DeviceSpec, FmaRates, GemmConfig, GemmProblem
from .capture import Capture, capture
from .problems import CountedProblem, read_problems, write_problems

__all__ = [
    "Capture",
    "CountedProblem",
    "DeviceSpec",
    "FmaRates",
    "GemmConfig",
    "GemmProblem",
    "capture",
    "read_problems",
    "write_problems",
]
