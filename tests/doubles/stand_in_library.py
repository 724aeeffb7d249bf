"""The stand-in libcublasLt (tests/cpp/fake_libcublaslt, a double of cuBLASLt) for Python: built and told."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from .stand_in import build_shared, fake_image

_SOURCES = Path(__file__).parents[1] / "cpp" / "fake_libcublaslt"


@dataclass(frozen=True)
class StandInLibrary:
    """The built double; the head of its source says what it can be told.

    A process of its own is told by the variable FAKE_LIBCUBLASLT instead.
    """

    path: Path

    def tell(self, text: str) -> None:
        """Makes it, in this process, what `text` describes."""
        self._library.fake_cublaslt_configure(text.encode())

    def product(self) -> str:
        """The product that it was asked about last, as it was described."""
        told = self._library.fake_cublaslt_product
        told.restype = ctypes.c_char_p
        return bytes(told()).decode()

    def calls(self, function: str) -> int:
        """How often the function was called since it was told."""
        return int(self._library.fake_cublaslt_calls(function.encode()))

    @property
    def _library(self) -> ctypes.CDLL:
        return ctypes.CDLL(str(self.path))


def build_library(folder: Path) -> StandInLibrary:
    """Compiles it into the folder."""
    return StandInLibrary(build_shared(_SOURCES, folder / "libcublasLt.so.13"))


def algorithm_image(number: int) -> bytes:
    """What the stand-in driver is given to launch where the double runs its algorithm of that number."""
    return fake_image(f"cublaslt_{number}(pppiii)")
