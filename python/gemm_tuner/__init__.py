"""GEMM autotuning for the GPUs that torch.compile's max-autotune refuses.

Importing this loads neither torch nor triton, in under 100 ms: what is heavy is imported by the function that needs it.
"""

from typing import TYPE_CHECKING

from ._core import (
    DeviceSpec,
    FmaRates,
    GemmConfig,
    GemmProblem,
    KernelResources,
    ModelConstants,
    Prediction,
    predict,
    predict_library,
    rank,
    space,
    why_illegal,
)
from .capture import capture
from .devices import catalogue, device
from .inductor.switch import disable, enable, enabled
from .problems import CountedProblem, read_problems, write_problems

if TYPE_CHECKING:
    from . import nn
    from .in_use import use_records
    from .nn import replace_linear
    from .ops import matmul
    from .quantized_ops import int_mm, scaled_mm
    from .tuning import TuneResult, tune

__all__ = [
    "CountedProblem",
    "DeviceSpec",
    "FmaRates",
    "GemmConfig",
    "GemmProblem",
    "KernelResources",
    "ModelConstants",
    "Prediction",
    "TuneResult",
    "capture",
    "catalogue",
    "device",
    "disable",
    "enable",
    "enabled",
    "int_mm",
    "matmul",
    "nn",
    "predict",
    "predict_library",
    "rank",
    "read_problems",
    "replace_linear",
    "scaled_mm",
    "space",
    "tune",
    "use_records",
    "why_illegal",
    "write_problems",
]


# What of the public face half of this import's time, or torch, stands behind: who only asks for predictions needs none
_LATE = {
    "TuneResult": "tuning",
    "int_mm": "quantized_ops",
    "matmul": "ops",
    "nn": "",
    "replace_linear": "nn",
    "scaled_mm": "quantized_ops",
    "tune": "tuning",
    "use_records": "in_use",
}


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module 'gemm_tuner' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f".{_LATE[name] or name}", __name__)
    found = getattr(module, name) if _LATE[name] else module
    globals()[name] = found  # torch.compile takes a function that stands in a module for what it is
    return found
