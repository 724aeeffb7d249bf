"""GEMM autotuning for the GPUs that torch.compile's max-autotune refuses.

Importing this loads neither torch nor triton; what needs them loads them when it is called.
"""

from __future__ import annotations

from importlib import import_module
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
from .capture import Capture, capture  # not on first use: whoever imports gemm_tuner.capture first would hide it
from .problems import CountedProblem, read_problems, write_problems

if TYPE_CHECKING:
    from .devices import catalogue as catalogue
    from .devices import device as device
    from .tune import tune as tune

# names that come from modules of ours, loaded on first use so that the import stays cheap
_LAZY = {
    "catalogue": "devices",
    "device": "devices",
    "tune": "tune",
}

__all__ = [
    "Capture",
    "CountedProblem",
    "DeviceSpec",
    "FmaRates",
    "GemmConfig",
    "GemmProblem",
    "KernelResources",
    "ModelConstants",
    "Prediction",
    "capture",
    "catalogue",
    "device",
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
    if name not in _LAZY:
        raise AttributeError(f"module 'gemm_tuner' has no attribute {name!r}")
    # the import system sets gemm_tuner.<module>; where module and function share a name, the function must win
    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
