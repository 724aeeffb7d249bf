"""What the NVIDIA driver says of this machine, with what only this process knows: its environment, and torch's wishes.

Nothing here imports torch; where the program has already loaded it, its current device and SM carve-out count.
Every function raises DriverError where the driver is too old, does not start, or a call of it fails.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TypedDict

from . import _core
from ._core import DeviceSpec
from .settings import settings


class _Limits(TypedDict):
    sm_carveout: int | None
    sm_budget: int | None
    mps_percentage: float | None
    library: str | None


@dataclass(frozen=True)
class AvailableSms:
    """SMs that a kernel launched now could use, and which limit decided: device, MPS share, green context, torch's
    carve-out or SM budget."""

    sms: int
    decided_by: str


def device_count() -> int:
    """GPUs that the driver shows this process (CUDA_VISIBLE_DEVICES obeyed); 0 without a driver."""
    return _core.device_count(library=settings().libcuda)


def query(ordinal: int | None = None, *, sm_budget: int | None = None) -> DeviceSpec:
    """The GPU of that number, as the driver describes it; without one, the current GPU. Creates no CUDA context.

    Raises NoDeviceError where there is none, ValueError for an SM budget below 1.
    """
    return _core.query_device(_current_ordinal(ordinal), **_limits(sm_budget))


def available_sms(ordinal: int | None = None, *, sm_budget: int | None = None) -> AvailableSms:
    """`query(...).available_sms`, and why. Raises as `query` does."""
    sms, decided_by = _core.available_sms(_current_ordinal(ordinal), **_limits(sm_budget))
    return AvailableSms(sms, decided_by)


def count_reachable_sms(ordinal: int | None = None) -> int:
    """Launches a kernel that fills the GPU and counts the distinct SMs that it ran on: evidence for `available_sms`.

    Uses the GPU's current CUDA context, or its primary one, and takes about a millisecond besides. Raises NoDeviceError
    where there is no GPU, NotBuiltError where this build has no CUDA probes or the GPU is older than Turing.
    """
    return _core.count_reachable_sms(_current_ordinal(ordinal), library=settings().libcuda)


def current_ordinal() -> int:
    """Which of the driver's GPUs is the current one: torch's where it is in use, else the first."""
    return _current_ordinal(None) or 0


def unreserved_sms(ordinal: int | None = None) -> int:
    """SMs that the device, MPS and the CUDA context leave a kernel, whatever torch wishes to leave unused. Raises as
    `query` does."""
    here = settings()
    sms, _ = _core.available_sms(_current_ordinal(ordinal), mps_percentage=here.mps_percentage, library=here.libcuda)
    return sms


def calibrate(asked: DeviceSpec, ordinal: int | None = None) -> tuple[DeviceSpec, dict[str, tuple[float, float]]]:
    """The GPU as our own kernels measure it, and the figures: value and spread by name. Raises what
    `calibration.measure` does."""
    return _core.calibrate(asked, _current_ordinal(ordinal), library=settings().libcuda)


def _limits(sm_budget: int | None) -> _Limits:
    here = settings()
    return {
        "sm_carveout": _carveout(),
        "sm_budget": sm_budget,
        "mps_percentage": here.mps_percentage,
        "library": here.libcuda,
    }


def _current_ordinal(ordinal: int | None) -> int | None:
    torch = sys.modules.get("torch")
    if ordinal is None and torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.current_device())
    return ordinal


def _carveout() -> int | None:
    """SMs that torch's matrix products leave to other kernels; None where torch is not loaded or leaves none."""
    torch = sys.modules.get("torch")
    ask = getattr(getattr(torch, "_C", None), "_get_sm_carveout_experimental", None)
    return None if ask is None else ask()
