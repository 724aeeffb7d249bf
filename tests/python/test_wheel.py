"""The wheel itself: what is in it, what it links, and that it works where neither torch nor triton is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where `make test` has put the wheel that it tests; without it the tests build their own.
BUILT = ROOT / "build" / "wheel"

FIRST_STEPS = """
import importlib.util, json, sys
import gemm_tuner as gt
from gemm_tuner import _core
from gemm_tuner.errors import GemmTunerError

device = gt.device("rtx-3060")
problem = gt.GemmProblem(m=512, n=4096, k=1024, dtype="float16", layout="nt")
best = gt.rank(problem, device, top_k=2)[0]

def refusal(job):
    try:
        job()
    except GemmTunerError as error:
        return str(error)

print(json.dumps({
    "torch": importlib.util.find_spec("torch") is not None,
    "triton": importlib.util.find_spec("triton") is not None,
    "loaded": [name for name in ("torch", "triton") if name in sys.modules],
    "candidates": len(gt.space(problem, device)),
    "latency_us": gt.predict(problem, best.config, device).latency_us,
    "tune": refusal(lambda: gt.tune([problem], device)),
    "capture": refusal(lambda: gt.capture().__enter__()),
    "build": _core.build(),
}))
"""


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(each) for each in command], env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_wheel(folder: Path, *options: str) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, *options, ROOT)
    return next(folder.glob("gemm_tuner-*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next(BUILT.glob("gemm_tuner-*.whl"), None) or build_wheel(tmp_path_factory.mktemp("wheel"))


def first_steps(wheel: Path, folder: Path) -> dict[str, object]:
    """What the wheel says of itself in a new environment that holds it and what it depends on, nothing else."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    said: dict[str, object] = json.loads(run(python, "-c", FIRST_STEPS, PYTHONPATH=""))
    return said


def test_it_ships_kernels_types_and_the_catalogue(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("kernels/tiled.py", "kernels/split_k.py", "py.typed", "_core.pyi", "catalogue.csv"):
        assert f"gemm_tuner/{name}" in names
    assert "gemm_tuner_autoload/__init__.py" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gemm_tuner", "gemm_tuner_autoload"}
    assert not any(name.startswith(("tests/", "kernels/")) for name in names)
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    said = zipfile.ZipFile(wheel).read(entry_points).decode()
    assert all(words in said for words in ("gemm-tuner", "[torch.backends]", "[torch_dynamo_backends]"))


def test_it_links_neither_cuda_nor_torch_nor_python(wheel: Path, tmp_path: Path) -> None:
    extension = next(name for name in zipfile.ZipFile(wheel).namelist() if "_core." in name and name.endswith(".so"))
    path = zipfile.ZipFile(wheel).extract(extension, tmp_path)
    needed = [line.split("[")[1].rstrip("]") for line in run("readelf", "-d", path).splitlines() if "(NEEDED)" in line]
    system = ("libstdc++", "libm.", "libgcc_s", "libc.", "ld-", "libdl", "libpthread")
    assert needed and all(name.startswith(system) for name in needed)


def test_it_works_without_torch_and_triton(wheel: Path, tmp_path: Path) -> None:
    said = first_steps(wheel, tmp_path / "env")
    assert (said["torch"], said["triton"], said["loaded"]) == (False, False, [])
    assert isinstance(said["candidates"], int) and said["candidates"] > 100
    assert isinstance(said["latency_us"], float) and said["latency_us"] > 0
    assert "pip install triton" in str(said["tune"])
    assert "torch" in str(said["capture"])


def test_without_nvcc_it_builds_and_says_what_is_missing(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, "-C", "cmake.define.GEMM_TUNER_CUDA=OFF", "-C", f"build-dir={tmp_path / 'build'}")
    build = first_steps(wheel, tmp_path / "env")["build"]
    assert isinstance(build, dict)
    assert build["has_cuda_probes"] is False
    assert "GEMM_TUNER_CUDA" in build["missing"]
