"""The stand-in libcuda.so.1 (tests/cpp/fake_libcuda, a double of driver, GPU and NVML) for Python: built, told, timed.

Images that it loads: cubins, PTX, and texts like `fake_image("tiled(ppp)")`, for which no compiler is needed.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SOURCES = Path(__file__).parents[1] / "cpp" / "fake_libcuda"
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


@dataclass(frozen=True)
class Launched:
    """A launch as it arrived. values: of the parameters, as unsigned integers."""

    entry: str
    grid: tuple[int, int, int]
    threads: int
    smem_bytes: int
    stream: int
    context: int
    values: tuple[int, ...]

    @staticmethod
    def read(line: str) -> Launched:
        entry, *words = line.split()
        x, y, z, threads, smem_bytes, stream, context, *values = map(int, words)
        return Launched(entry, (x, y, z), threads, smem_bytes, stream, context, tuple(values))


@dataclass(frozen=True)
class StandIn:
    """The built double; tests/cpp/fake_libcuda/fake.hpp says what it can be told.

    A process of its own is told by the variable FAKE_LIBCUDA instead.
    """

    path: Path

    def tell(self, text: str) -> None:
        """Makes it, in this process, the machine that `text` describes."""
        self._library.fake_configure(text.encode())

    def calls(self, function: str) -> int:
        """How often the function was called since it was told."""
        return int(self._library.fake_calls(function.encode()))

    def launched(self) -> list[Launched]:
        """Every launch since it was told "log=1"."""
        lines: list[str] = []
        text = ctypes.create_string_buffer(1024)
        while self._library.fake_launched(len(lines), text, len(text)):
            lines.append(text.value.decode())
        return [Launched.read(line) for line in lines]

    def leaks(self) -> int:
        """What was made in it and not given back."""
        return int(self._library.fake_leaks())

    @property
    def _library(self) -> ctypes.CDLL:
        return ctypes.CDLL(str(self.path))


def build(folder: Path, *flags: str) -> StandIn:
    """Compiles it into the folder, by the C++ compiler that CXX names, else the system's, with these flags too."""
    return StandIn(build_shared(_SOURCES, folder / "libcuda.so.1", *flags))


def build_shared(sources: Path, path: Path, *flags: str) -> Path:
    """Compiles the folder's sources into the shared library at `path`."""
    # as one source: three times as fast
    whole = "".join(f'#include "{source}"\n' for source in sorted(sources.glob("*.cpp")))
    command = [os.environ.get("CXX", "c++"), "-std=c++20", *flags, "-shared", "-fPIC", "-x", "c++", "-"]
    subprocess.run([*command, "-o", str(path), "-ldl"], input=whole, text=True, check=True)
    return path


def fake_image(entries: str) -> bytes:
    """An image for the double: "split_k(pppi) add_parts(ppi)", a letter per parameter, p and l of 8 bytes, i of 4."""
    return f"FAKECUBIN {entries}".encode()


def image_hash(image: bytes) -> str:
    """What stands for the image in a table of times: FNV-1a, 64 bits, 16 hexadecimal digits."""
    value = _FNV_OFFSET
    for byte in image:
        value = (value ^ byte) * _FNV_PRIME % 2**64
    return f"{value:016x}"


@dataclass(frozen=True)
class KernelTime:
    """How long the double says that a kernel takes.

    sizes: "m,n,k", its first three 4-byte parameters, or "*"; "@16" behind it for a partition of 16 SMs only.
    behaviour: empty, wrong, fault=719, oom, hang or exit.
    """

    image: bytes
    latency_us: float
    sizes: str = "*"
    behaviour: str = ""


def write_times(path: Path, times: Iterable[KernelTime]) -> str:
    """Writes the table, and gives the words that tell the double of it."""
    lines = (f"{image_hash(each.image)}\t{each.sizes}\t{each.latency_us}\t{each.behaviour}\n" for each in times)
    path.write_text("".join(lines))
    return f"times={path}"
