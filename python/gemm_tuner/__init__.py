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

if TYPE_CHECKING:
    from .capture import capture as capture
    from .devices import catalogue as catalogue
    from .devices import device as device
    from .problems import CountedProblem as CountedProblem
    from .problems import read_problems as read_problems
    from .problems import write_problems as write_problems
    from .tune import tune as tune

# names that come from modules of ours, loaded on first use so that the import stays cheap
_LAZY = {
    "CountedProblem": "problems",
    "capture": "capture",
    "catalogue": "devices",
    "device": "devices",
    "read_problems": "problems",
    "tune": "tune",
    "write_problems": "problems",
}

__all__ = [
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
