"""What this machine can do, why, and what to do about it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from . import _core, driver
from ._core import DeviceSpec, GemmProblem, has_tensor_core_path
from .errors import DriverError, GemmTunerError, NoDeviceError
from .settings import settings
from .versions import TRITON, installed_version

# torch._inductor.utils.is_big_gpu, the same in torch 2.11 to 2.15
_TORCH_MIN_SMS = 68


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, and what to do about it where that is not well."""

    subject: str
    status: Literal["ok", "warn", "bad"]
    sentence: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Looks at the extension, the driver, each GPU, torch, Triton and the cache folder.

    Launches a small kernel on each GPU where this build has the probe for it. Raises nothing: what fails is a finding.
    """
    return [_extension(), *_driver_and_devices(), _package("torch"), _package("triton"), _cache()]


def _extension() -> Finding:
    build = _core.build()
    sentence = f"Built by {build['compiler']} ({build['type']})"
    if build["has_cuda_probes"]:
        return Finding("extension", "ok", f"{sentence}, CUDA probes by nvcc {build['nvcc']}.")
    return Finding("extension", "warn", f"{sentence}, without the CUDA probes.", str(build["missing"]))


def _driver_and_devices() -> Iterator[Finding]:
    try:
        first = driver.query(0)
    except NoDeviceError as error:
        yield Finding("driver", "warn", _first_sentence(error), "Name a device: `gemm-tuner tune --device NAME`.")
        return
    except DriverError as error:
        yield Finding("driver", "bad", str(error))
        return
    yield Finding("driver", "ok", f"A driver for CUDA {first.driver_version}, {driver.device_count()} GPU(s).")
    for ordinal in range(driver.device_count()):
        yield from _device(ordinal)


def _device(ordinal: int) -> Iterator[Finding]:
    subject = f"GPU {ordinal}"
    try:
        spec, available = driver.query(ordinal), driver.available_sms(ordinal)
    except (GemmTunerError, ValueError) as error:
        yield Finding(subject, "bad", str(error))
        return
    limit = "" if available.sms == spec.sm_count else f"; {available.sms} available: the {available.decided_by} decides"
    estimated = f" Estimated: {', '.join(spec.estimated)}." if spec.estimated else ""
    sentence = f"{spec.name}, sm_{spec.compute_capability}, {spec.sm_count} SMs{limit}.{estimated}"
    yield Finding(subject, "ok", sentence)
    yield _reachable(ordinal, available)
    yield _gate(subject, spec)


def _reachable(ordinal: int, available: driver.AvailableSms) -> Finding:
    subject = f"GPU {ordinal} SMs"
    try:
        reached = driver.count_reachable_sms(ordinal)
    except GemmTunerError as error:
        return Finding(subject, "warn", f"How many SMs a launch reaches was not counted: {error}")
    sentence = f"A launch reached {reached} SMs; {available.sms} are taken as available."
    # the carve-out and the budget are promises, which a launch of ours does not have to keep
    promised = available.decided_by in ("torch's carve-out", "SM budget")
    if reached == available.sms or (promised and reached > available.sms):
        return Finding(subject, "ok", sentence)
    return Finding(subject, "warn", sentence, f"Give sm_budget={reached} where the SMs are limited in another way.")


def _gate(subject: str, spec: DeviceSpec) -> Finding:
    subject = f"{subject} max-autotune"
    if not has_tensor_core_path(GemmProblem(m=16, n=16, k=16), spec):
        sentence = f"Triton emits no tensor-core code for sm_{spec.compute_capability}: records will say ATen."
        remedy = "`gemm-tuner tune --kernel gemm_tuner` races cuBLASLt's own algorithms, which the op runs."
        return Finding(subject, "warn", sentence, remedy)
    refuses = "refuses" if spec.sm_count < _TORCH_MIN_SMS else "accepts"
    return Finding(
        subject, "ok", f"torch's own max-autotune {refuses} it: {spec.sm_count} SMs, and it wants {_TORCH_MIN_SMS}."
    )


def _package(name: str) -> Finding:
    version = installed_version(*(TRITON if name == "triton" else (name,)))
    if not version:
        remedy = f"`pip install {name}`, to capture or run models" if name == "torch" else f"`pip install {name}`"
        return Finding(name, "warn", f"{name} is not installed; predictions work without.", f"{remedy}.")
    without_cuda = ", a build without CUDA: it captures, and runs nothing on a GPU" if version.endswith("+cpu") else ""
    return Finding(name, "ok", f"{name} {version} is installed{without_cuda}.")


def _cache() -> Finding:
    folder = settings().cache_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        remedy = "Make it writable, or name another folder in GEMM_TUNER_CACHE_DIR."
        return Finding("cache", "bad", f"{folder} cannot be written: {error.strerror}.", remedy)
    return Finding("cache", "ok", f"{folder} can be written.")


def _first_sentence(error: Exception) -> str:
    """The driver's messages end in advice, which the findings give as a remedy of their own."""
    return str(error).split(". ")[0] + "."
