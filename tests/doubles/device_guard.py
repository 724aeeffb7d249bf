"""A double of torch's CUDA device for autograd (device_guard.cpp), compiled once for the installed torch."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

_SOURCE = Path(__file__).with_suffix(".cpp")


class _Behaviour(ctypes.Structure):
    _fields_ = (("guard", ctypes.c_void_p), ("hooks", ctypes.c_void_p))


@contextmanager
def virtual_guard() -> Iterator[None]:
    """Within the block autograd takes fake tensors that are on a CUDA device, and works in the calling thread."""
    library = _library()
    before = library.use_virtual_device()
    try:
        with torch.autograd.set_multithreading_enabled(False):
            yield
    finally:
        library.use_device(before)


@cache
def _library() -> ctypes.CDLL:
    torch_folder = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "device_guard.so"
        subprocess.run(
            [
                *(os.environ.get("CXX", "c++"), "-std=c++20", "-shared", "-fPIC", "-w", str(_SOURCE), "-o", str(path)),
                *(f"-I{torch_folder / 'include'}", f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu"),
            ],
            check=True,
        )
        library = ctypes.CDLL(str(path))
    library.use_virtual_device.argtypes = []
    library.use_virtual_device.restype = _Behaviour
    library.use_device.argtypes = [_Behaviour]
    library.use_device.restype = None
    return library
