"""What the environment sets. The one place that reads it, but for GEMM_TUNER_ENABLE: `gemm_tuner_autoload` reads that
before anything of this package is imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Policy = Literal["measure", "lookup", "predict"]
POLICIES: tuple[Policy, ...] = ("measure", "lookup", "predict")
DEFAULT_POLICY: Policy = "measure"
DEFAULT_TOP_K = 4

_log = logging.getLogger("gemm_tuner")


@dataclass(frozen=True)
class Settings:
    """cache_dir: where compiled candidates are kept (GEMM_TUNER_CACHE_DIR; the user's cache folder by default).
    calibrations: where calibrations of this machine's GPUs are kept (GEMM_TUNER_CALIBRATIONS; a folder in cache_dir by
    default); None where it says "off": none is used.
    libcuda: the driver library to open instead of libcuda.so.1 (GEMM_TUNER_LIBCUDA).
    libcublaslt: the cuBLASLt to open instead of the one that torch ships (GEMM_TUNER_LIBCUBLASLT);
    "off" for none.
    libnvml: the library that tells clocks, instead of libnvidia-ml.so.1 (GEMM_TUNER_LIBNVML).
    mps_percentage: the share of a GPU's SMs that MPS leaves this process (NVIDIA's CUDA_MPS_ACTIVE_THREAD_PERCENTAGE).

    What `gemm_tuner.enable` is given where GEMM_TUNER_ENABLE switches it on: records (GEMM_TUNER_RECORDS, paths with
    os.pathsep between them; the op follows them in any case), policy (GEMM_TUNER_POLICY), top_k (GEMM_TUNER_TOP_K),
    device (GEMM_TUNER_DEVICE), sm_budget (GEMM_TUNER_SM_BUDGET).

    A value that makes no sense is warned about, once, and taken as unset.
    """

    cache_dir: Path
    calibrations: Path | None
    libcuda: str | None
    libcublaslt: str | None
    libnvml: str | None
    mps_percentage: float | None
    records: tuple[Path, ...]
    policy: Policy
    top_k: int
    device: str | None
    sm_budget: int | None


def settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings as the environment has them now."""
    return Settings(
        cache_dir=_cache_dir(environment),
        calibrations=_calibrations(environment),
        libcuda=environment.get("GEMM_TUNER_LIBCUDA") or None,
        libcublaslt=environment.get("GEMM_TUNER_LIBCUBLASLT") or None,
        libnvml=environment.get("GEMM_TUNER_LIBNVML") or None,
        mps_percentage=_mps_percentage(environment),
        records=_paths(environment.get("GEMM_TUNER_RECORDS", "")),
        policy=_policy(environment.get("GEMM_TUNER_POLICY", "")),
        top_k=_count("GEMM_TUNER_TOP_K", environment) or DEFAULT_TOP_K,
        device=environment.get("GEMM_TUNER_DEVICE") or None,
        sm_budget=_count("GEMM_TUNER_SM_BUDGET", environment),
    )


@cache  # settings are read often, and a sentence said once is enough
def _warn(sentence: str) -> None:
    _log.warning("%s; taken as unset", sentence)


def _paths(given: str) -> tuple[Path, ...]:
    return tuple(Path(each).expanduser() for each in given.split(os.pathsep) if each)


def _policy(given: str) -> Policy:
    for policy in POLICIES:
        if given == policy:
            return policy
    if given:
        _warn(f"GEMM_TUNER_POLICY={given!r} is none of {', '.join(POLICIES)}")
    return DEFAULT_POLICY


def _count(name: str, environment: Mapping[str, str]) -> int | None:
    given = environment.get(name, "")
    if not given:
        return None
    try:
        count = int(given)
    except ValueError:
        count = 0
    if count >= 1:
        return count
    _warn(f"{name}={given!r} is no whole number from 1 on")
    return None


def _cache_dir(environment: Mapping[str, str]) -> Path:
    named = environment.get("GEMM_TUNER_CACHE_DIR")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("gemm_tuner")


def _calibrations(environment: Mapping[str, str]) -> Path | None:
    named = environment.get("GEMM_TUNER_CALIBRATIONS")
    if named:
        return None if named == "off" else Path(named).expanduser()
    return _cache_dir(environment) / "calibrations"


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
    _warn(f"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE={given!r} is no percentage above 0 and up to 100")
    return None
