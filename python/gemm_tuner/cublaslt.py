"""cuBLASLt's own algorithms: where the library is, and what it is told of a problem. Imports no torch.

docs/library.md tells what is raced and what a record of it is worth.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from pathlib import Path

from . import _core
from ._core import DeviceSpec, GemmConfig, GemmProblem, LibraryAlgorithm, why_library_lacks
from .errors import LibraryError
from .placement import Placement
from .settings import settings
from .sources import ELEMENT_BYTES

Candidate = GemmConfig | LibraryAlgorithm  # what may replace the library's own choice

ALGORITHMS = 8  # that race for one problem: the heuristic's first, as many as candidates of ours
WORKSPACE_BYTES = 32 << 20  # that an algorithm may need: what NVIDIA advises to give cuBLAS on its larger GPUs
_KERNEL = "cublaslt::matmul"
_WIDEST = 16  # bytes; no load is wider

log = logging.getLogger("gemm_tuner")


def library_path() -> str | None:
    """The cuBLASLt to open: GEMM_TUNER_LIBCUBLASLT's, else the one that the installed torch ships; None without one,
    and where the variable says "off".

    Where torch's wheel brings none (conda, a system's own build) it is the loader's business to find it.
    """
    named = settings().libcublaslt
    if named is not None:
        return None if named == "off" else named
    torch = _folder_of("torch")
    major = None if torch is None else _cuda_major(torch / "version.py")
    if torch is None or major is None:
        return None
    name = f"libcublasLt.so.{major}"
    site = torch.parent
    shipped = (site / "nvidia" / f"cu{major}" / "lib", site / "nvidia" / "cublas" / "lib", torch / "lib")
    return next((str(folder / name) for folder in shipped if (folder / name).is_file()), name)


def _folder_of(package: str) -> Path | None:
    found = importlib.util.find_spec(package)
    return None if found is None or found.origin is None else Path(found.origin).parent


def _cuda_major(version_file: Path) -> str | None:
    """Of the CUDA that torch was built for, read without importing torch, which takes a second."""
    try:
        lines = version_file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    said = next((line.split("'") for line in lines if line.startswith("cuda")), [])  # cuda: Optional[str] = '13.2'
    return said[1].partition(".")[0] if len(said) > 1 else None


def library_kernel() -> str | None:
    """What a record of an algorithm names as its kernel, "cublaslt::matmul@130100" of cuBLAS 13.1.0; None where there
    is no library: the algorithms mean nothing to another version."""
    path = library_path()
    return None if path is None else _kernel_of(path)


@functools.cache
def _kernel_of(path: str) -> str | None:
    try:
        return f"{_KERNEL}@{_core.cublaslt_version(path)}"
    except LibraryError as error:
        log.info("no algorithms of cuBLASLt's: %s", error)
        return None


def is_library_kernel(kernel: str) -> bool:
    """Does a record that names the kernel speak of an algorithm of the library's?"""
    return kernel.startswith(f"{_KERNEL}@")


def may_race(problem: GemmProblem) -> bool:
    """Is there a library here that may have algorithms for the problem?"""
    return why_library_lacks(problem) is None and library_path() is not None


@functools.cache
def opened(ordinal: int) -> _core.CublasLt:
    """The library on that GPU. Raises LibraryError, and what the driver raises."""
    path = library_path()
    if path is None:
        raise LibraryError(
            "There is no cuBLASLt: the installed torch is built without CUDA. Name one by GEMM_TUNER_LIBCUBLASLT."
        )
    return _core.CublasLt(path, ordinal=ordinal, library=settings().libcuda)


def product_on(ordinal: int, problem: GemmProblem, place: Placement, *, sm_count: int = 0) -> _core.LibraryProduct:
    """The problem as the library is told of it, on operands that lie at `place`. sm_count: SMs to plan for, 0 for all.

    Raises ValueError where one call of it cannot compute the problem, and as `opened` does.
    """
    strides = place.a_pitch, place.b_pitch, place.a_strides[0], place.b_strides[0]
    return opened(ordinal).product(problem, strides, sm_count=sm_count)


def promised_alignment(problem: GemmProblem) -> dict[str, int]:
    """Bytes that must divide the addresses of operands for the algorithms that were found for the problem."""
    return {
        "a": min(_WIDEST, problem.alignment * ELEMENT_BYTES[problem.a_dtype]),
        "b": min(_WIDEST, problem.alignment * ELEMENT_BYTES[problem.b_dtype]),
        **dict.fromkeys(("bias", "scale_a", "scale_b"), _WIDEST),
    }


def planned_sms(device: DeviceSpec) -> int:
    """SMs that the library is told to plan for: those available, where that is not all there are; else 0, for all."""
    return 0 if device.available_sms == device.sm_count else device.available_sms
