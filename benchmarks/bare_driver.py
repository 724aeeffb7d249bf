"""Doubles of a driver that takes launches and forgets them, so that what a call costs is what is spent before it."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from doubles.stand_in import build


def bare_stand_in(folder: Path) -> str:
    """The stand-in libcuda built so that it plays nothing; its path."""
    return str(build(folder, "-O2", "-w", "-DFAKE_BARE").path)


def triton_driver(folder: Path) -> Any:
    """Triton's own launcher for the JIT, linked with a libcuda whose every function gives 0: for
    `triton.runtime.driver.set_active`. Nothing of Triton may have been launched before in this process.
    """
    os.environ["TRITON_LIBCUDA_PATH"], os.environ["TRITON_CACHE_DIR"] = str(folder), str(folder / "cache")
    from triton.backends.nvidia import driver as nvidia

    import gemm_tuner as gt
    from doubles.virtual_driver import VirtualDriver

    called = set(re.findall(r"\bcu[A-Z]\w+", (Path(nvidia.__file__).parent / "driver.c").read_text()))
    source = "".join(f"int {name}() {{ return 0; }}\n" for name in sorted(called))
    path = folder / "libcuda.so.1"
    command = [os.environ.get("CC", "cc"), "-w", "-O2", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-x", "c", "-"]
    subprocess.run([*command, "-o", str(path)], input=source, text=True, check=True)
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)

    class Driver(VirtualDriver):
        launcher_cls = nvidia.CudaLauncher

        def __init__(self) -> None:
            super().__init__(gt.device("rtx-3060"))
            real = nvidia.CudaUtils()
            self.utils.launch, self.utils.build_signature_metadata = real.launch, real.build_signature_metadata
            module, function, registers, spilled_words, most_threads = 1, 1 << 12, 32, 0, 1024
            self.utils.load_binary = lambda *_: (module, function, registers, spilled_words, most_threads)

    return Driver()
