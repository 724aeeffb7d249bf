"""Options of the test run, and fixtures that several tests share."""

from __future__ import annotations

import ctypes
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from gemm_tuner import settings

_SOURCE = Path(__file__).parents[1] / "cpp" / "fake_libcuda" / "fake_libcuda.cpp"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden", action="store_true", help="rewrite tests/golden with what the model says now"
    )


@pytest.fixture(autouse=True)
def _every_test_hears_what_is_said_once() -> None:
    settings._warn.cache_clear()


@dataclass(frozen=True)
class StandIn:
    """The stand-in libcuda.so.1: a test double, whose source says what it can be told."""

    path: Path

    def tell(self, text: str) -> None:
        """Makes it, in this process, the machine that `text` describes."""
        ctypes.CDLL(str(self.path)).fake_configure(text.encode())


@pytest.fixture(scope="session")
def stand_in_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The double, compiled from its one file by the C++ compiler that CXX names, else the system's."""
    path = tmp_path_factory.mktemp("stand_in") / "libcuda.so.1"
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, "-std=c++20", "-shared", "-fPIC", str(_SOURCE), "-o", str(path)], check=True)
    return path


@pytest.fixture
def stand_in(stand_in_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The double in place of the driver: one RTX 3060, until it is told otherwise."""
    monkeypatch.setenv("GEMM_TUNER_LIBCUDA", str(stand_in_path))
    for name in ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING"):
        monkeypatch.delenv(name, raising=False)
    double = StandIn(stand_in_path)
    double.tell("")
    return double


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that the test starts with empty."""
    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
