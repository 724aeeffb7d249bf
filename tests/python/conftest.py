"""Options of the test run, and fixtures that several tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from doubles.stand_in import StandIn, build
from doubles.stand_in_library import StandInLibrary, build_library
from gemm_tuner import cublaslt, settings

__all__ = ["StandIn", "StandInLibrary"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden", action="store_true", help="rewrite tests/golden with what the model says now"
    )


@pytest.fixture(autouse=True)
def _every_test_hears_what_is_said_once() -> None:
    settings._warn.cache_clear()


@pytest.fixture(scope="session")
def stand_in_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("stand_in")).path


@pytest.fixture
def stand_in(stand_in_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The double in place of the driver: one RTX 3060, until it is told otherwise."""
    monkeypatch.setenv("GEMM_TUNER_LIBCUDA", str(stand_in_path))
    monkeypatch.setenv("GEMM_TUNER_LIBCUBLASLT", "off")  # a real one would look for a real GPU
    for name in ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING"):
        monkeypatch.delenv(name, raising=False)
    double = StandIn(stand_in_path)
    double.tell("")
    return double


@pytest.fixture(scope="session")
def stand_in_library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("stand_in_library")).path


@pytest.fixture
def stand_in_library(
    stand_in: StandIn, stand_in_library_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandInLibrary]:
    """The double of cuBLASLt, on the GPU that the stand-in driver plays."""
    monkeypatch.setenv("GEMM_TUNER_LIBCUBLASLT", str(stand_in_library_path))
    double = StandInLibrary(stand_in_library_path)
    double.tell("")
    yield double
    cublaslt.opened.cache_clear()
    cublaslt._kernel_of.cache_clear()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that the test starts with empty."""
    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
