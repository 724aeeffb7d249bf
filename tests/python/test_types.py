"""The typed face of the package, held against the extension and the code; and what importing it costs."""

from __future__ import annotations

import inspect
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import gemm_tuner as gt
from gemm_tuner import _core

ROOT = Path(__file__).parents[2]
IMPORT_LIMIT_S = 0.1
IMPORTS = 10  # at most: other processes share the caches and the cores
IMPORT = """
import json, sys, time
before = time.process_time()
import gemm_tuner
print(json.dumps([time.process_time() - before, sorted(sys.modules)]))
"""


def succeeds(*arguments: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=500
    )
    assert run.returncode == 0, run.stdout + run.stderr


def imported() -> tuple[float, set[str]]:
    """Processor seconds that a fresh interpreter takes to import the package, and the modules it has then."""
    run = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True, timeout=60)
    seconds, modules = json.loads(run.stdout)
    return seconds, set(modules)


def test_the_stub_says_what_the_extension_has() -> None:
    pytest.importorskip("mypy")
    allowed = Path(__file__).with_name("stubtest_allowlist.txt")
    succeeds("mypy.stubtest", "gemm_tuner._core", "--concise", "--allowlist", str(allowed))


def test_the_package_is_strictly_typed() -> None:
    pytest.importorskip("mypy")
    pytest.importorskip("torch")
    succeeds("mypy")


def test_the_package_says_that_it_is_typed() -> None:
    installed = Path(gt.__file__).parent
    assert (installed / "py.typed").is_file()
    assert (installed / "_core.pyi").is_file()


def test_importing_loads_neither_torch_nor_triton_and_is_quick() -> None:
    best_s = math.inf
    for _ in range(IMPORTS):
        seconds, modules = imported()
        assert "gemm_tuner._core" in modules
        assert not modules & {"torch", "triton", "numpy", "rich"}
        best_s = min(best_s, seconds)
        if best_s < IMPORT_LIMIT_S:
            return
    pytest.fail(f"importing took at least {best_s * 1e3:.0f} ms")


@pytest.mark.parametrize("name", gt.__all__)
def test_a_public_name_exists_and_says_what_it_is(name: str) -> None:
    text = inspect.getdoc(getattr(gt, name))
    assert text
    # dataclasses and pybind11 make up a signature where nobody wrote anything
    assert not text.startswith(f"{name}(") or "\n" in text


@pytest.mark.parametrize("name", sorted(name for name in vars(_core) if not name.startswith("_")))
def test_everything_in_the_extension_says_what_it_is(name: str) -> None:
    thing = getattr(_core, name)
    methods: Iterable[str] = ()
    if inspect.isclass(thing):  # a value's properties need no sentence, what is no value does something
        own = [method for method in vars(thing) if not method.startswith("_")]
        methods = ("to_dict", "from_dict", "replace") if "to_dict" in own else own
    for part in (thing, *(getattr(thing, method) for method in methods)):
        said = [line for line in (inspect.getdoc(part) or "").splitlines() if line and "->" not in line]
        assert said, f"{part} has no sentence"


VALUES = [
    gt.GemmProblem(m=48, n=80, k=112, dtype="int8", layout="tn", op="int_mm"),
    gt.GemmConfig(block_m=128, split_k=4),
    gt.FmaRates(fp16=512, fp32=128),
    gt.device("rtx-3060", sm_budget=14),
    gt.KernelResources(registers_per_thread=128, smem_bytes=49152, tensor_core_instructions=64),
    gt.ModelConstants(overlap=0.5),
    gt.rank(gt.GemmProblem(m=512, n=512, k=512), gt.device("l4"), top_k=1)[0],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_from_whatever_it_was_turned_into(value: gt.GemmProblem) -> None:
    kind = type(value)
    for again in (kind.from_dict(value.to_dict()), pickle.loads(pickle.dumps(value)), value.replace()):
        assert again == value
        assert hash(again) == hash(value)
        assert repr(again) == repr(value)
    assert value != object()
    with pytest.raises(TypeError, match="unknown argument 'colour'"):
        kind.from_dict({**value.to_dict(), "colour": 1})
    with pytest.raises(AttributeError):
        setattr(value, next(iter(value.to_dict())), 1)
