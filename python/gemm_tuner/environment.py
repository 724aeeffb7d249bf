"""Every environment variable that gemm_tuner reads, and what it means."""

from __future__ import annotations

import logging
import os
from pathlib import Path

_log = logging.getLogger("gemm_tuner")


def libcuda() -> str | None:
    """GEMM_TUNER_LIBCUDA: the driver library to open instead of libcuda.so.1."""
    return os.environ.get("GEMM_TUNER_LIBCUDA") or None


def cache_dir() -> Path:
    """GEMM_TUNER_CACHE_DIR: where compiled candidates are kept; else the user's cache folder, by the system's rules."""
    given = os.environ.get("GEMM_TUNER_CACHE_DIR")
    if given:
        return Path(given).expanduser()
    import platformdirs  # here, for what it adds to every import of gemm_tuner

    return platformdirs.user_cache_path("gemm_tuner")


def mps_percentage() -> float | None:
    """CUDA_MPS_ACTIVE_THREAD_PERCENTAGE, NVIDIA's own: the share of a GPU's SMs that MPS leaves this process.

    None where it is not set, is no share, or where CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING lets each
    context have its own: the SM count that the driver reports is then the context's share already (MPS documentation).
    """
    given = os.environ.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "")
    if not given or os.environ.get("CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING") == "1":
        return None
    try:
        percentage = float(given)
    except ValueError:
        percentage = 0.0
    if 0 < percentage <= 100:
        return percentage
    _log.warning("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%r is no percentage above 0 and up to 100; taken as unset", given)
    return None
