"""What the environment sets. The one place that reads it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger("gemm_tuner")


@dataclass(frozen=True)
class Settings:
    """cache_dir: where compiled candidates are kept (GEMM_TUNER_CACHE_DIR; the user's cache folder by default).
    libcuda: the driver library to open instead of libcuda.so.1 (GEMM_TUNER_LIBCUDA).
    mps_percentage: the share of a GPU's SMs that MPS leaves this process (NVIDIA's CUDA_MPS_ACTIVE_THREAD_PERCENTAGE).
    """

    cache_dir: Path
    libcuda: str | None
    mps_percentage: float | None


def settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings as the environment has them now."""
    return Settings(
        cache_dir=_cache_dir(environment),
        libcuda=environment.get("GEMM_TUNER_LIBCUDA") or None,
        mps_percentage=_mps_percentage(environment),
    )


def _cache_dir(environment: Mapping[str, str]) -> Path:
    named = environment.get("GEMM_TUNER_CACHE_DIR")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("gemm_tuner")


def _mps_percentage(environment: Mapping[str, str]) -> float | None:
    """None also where CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING lets each context have its own share:
    the SM count that the driver reports is then the context's share already (NVIDIA's MPS documentation)."""
    given = environment.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "")
    if not given or environment.get("CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING") == "1":
        return None
    try:
        percentage = float(given)
    except ValueError:
        percentage = 0.0
    if 0 < percentage <= 100:
        return percentage
    _log.warning("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%r is no percentage above 0 and up to 100; taken as unset", given)
    return None
