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
    "predict",
    "predict_library",
    "rank",
    "read_problems",
    "space",
    "tune",
    "why_illegal",
    "write_problems",
]


def __getattr__(name: str) -> object:
    # half of this import's time, and who only asks for predictions needs none of it
    if name in ("TuneResult", "tune"):
        from . import tuning

        return getattr(tuning, name)
    raise AttributeError(f"module 'gemm_tuner' has no attribute {name!r}")
