"""Prints, as JSON, what a result depends on: GPU, driver, versions; and what is missing. Exits 1 without a GPU.

Needs nothing but Python, so that it answers before anything is built.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
import platform
import subprocess
import sys
from importlib import metadata

INSTALLED = ("torch", "triton", "numpy", "pytest", "pybind11", "scikit-build-core", "cmake", "ninja", "cuda-bindings")
# module: what cannot be done without it
NEEDED = {
    "torch": "anything",
    "triton": "anything",
    "filelock": "keeping what a compile measured (each process starts cold, and the tests of that fail)",
    "pytest": "the tests",
    "hypothesis": "collecting tests/python (tests/gpu does not need it)",
    "numpy": "collecting tests/python (tests/gpu does not need it)",
    "scikit_build_core": "the build",
    "pybind11": "the build",
    "cuda.bindings": "parts of the GPU: cuda-bindings makes green contexts",
    "platformdirs": "a cache folder where GEMM_TUNER_CACHE_DIR is unset (the tests and the benchmark set it)",
    "click": "the command gemm-tuner",
    "rich": "the command gemm-tuner",
}


def ran(*command: str) -> str:
    """What it printed, or why it printed nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{command[0]}: {error}"
    return (done.stdout or done.stderr).strip()


def version(distribution: str) -> str | None:
    """None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def is_there(module: str) -> bool:
    """Can it be imported?"""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def main() -> int:
    """The command."""
    driver_shows = ran("nvidia-smi", "-L")
    sees = ran(sys.executable, "-c", "import torch; print(torch.cuda.device_count(), torch.version.cuda)")
    print(
        json.dumps(
            {
                "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "gpus": driver_shows.splitlines(),
                "torch_sees": sees,
                "python": platform.python_version(),
                "versions": {name: version(name) for name in INSTALLED},
                "nvcc": ran("nvcc", "--version").splitlines()[-1:],
                "commit": ran("git", "rev-parse", "HEAD"),
                "missing": {name: f"needed for {why}" for name, why in NEEDED.items() if not is_there(name)},
            },
            indent=1,
        )
    )
    return 0 if sees.split()[:1] not in ([], ["0"]) and sees.split()[0].isdecimal() else 1


if __name__ == "__main__":
    sys.exit(main())
