"""The tests that need a GPU, rehearsed without one: everything but the numbers.

The GPU is a double, on which nothing runs: operands are fake tensors, and results are not looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

import gemm_tuner as gt
from doubles.virtual_gpu import VirtualGpu, virtual_gpu
from gemm_tuner.settings import Policy
from gpu import products, test_inductor_gpu
from inductor_samples import offered

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings(test_inductor_gpu.IEEE_IS_MEANT)
REHEARSED = ("addmm", "scaled_mm")  # all would take minutes


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[VirtualGpu]:
    """A virtual H100 on which Triton always wins: the double cannot call every library kernel."""
    real = products.operands

    def fakes(problem: gt.GemmProblem, device: str) -> products.Operands:
        return tuple(
            torch.empty_strided(each.shape, each.stride(), dtype=each.dtype, device="cuda:0")
            for each in real(problem, "cpu")
        )

    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(test_inductor_gpu, "TOP_K", 1)
    monkeypatch.setattr(test_inductor_gpu, "operands", fakes)
    monkeypatch.setattr(test_inductor_gpu, "assert_right", lambda *_: None)
    monkeypatch.setattr(test_inductor_gpu, "assert_measured_here", lambda _: None)
    timings = lambda choice: 2.0 if offered(choice) is None else 1.0  # noqa: E731
    monkeypatch.setattr(torch.testing, "assert_close", lambda *_, **__: None)
    with virtual_gpu("h100-sxm", timings=timings) as double, FakeTensorMode():
        yield double


@pytest.mark.parametrize("case", REHEARSED)
def test_products(case: str, gpu: VirtualGpu, tmp_path: Path) -> None:
    test_inductor_gpu.test_products_are_right_measured_cold_then_warm(case, tmp_path)
    assert gpu.clock.gemms


@pytest.mark.parametrize("policy", ["lookup", "predict"])
def test_policies_that_measure_nothing(policy: Policy, gpu: VirtualGpu, tmp_path: Path) -> None:
    test_inductor_gpu.test_products_are_right_and_nothing_is_measured("addmm", policy, tmp_path)
    assert not gpu.clock.gemms


def test_a_linear_layer_and_its_backward(gpu: VirtualGpu, tmp_path: Path) -> None:
    test_inductor_gpu.test_a_linear_layer_and_its_backward(torch.float16, tmp_path)
    assert [graph.is_backward for graph in gpu.graphs] == [False, True] * 2


def test_a_kernel_that_inductor_lacks(gpu: VirtualGpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(test_inductor_gpu, "assert_launched", lambda _: None)
    monkeypatch.setattr(gt, "device", lambda: gpu.spec)
    test_inductor_gpu.test_a_recorded_kernel_that_inductor_lacks_is_what_runs("persistent_tma", False, tmp_path)
    assert len(gpu.graphs) == 1 and not gpu.clock.gemms


def test_the_backend_by_name(gpu: VirtualGpu, tmp_path: Path) -> None:
    test_inductor_gpu.test_the_backend_by_name(tmp_path)


@pytest.mark.parametrize("problem", [case[0] for case in test_inductor_gpu.CASES.values()], ids=str)
def test_eager_results_on_a_cpu_agree_with_the_reference(problem: gt.GemmProblem) -> None:
    given = products.operands(problem, "cpu")
    (result,) = products.together([problem])(given)
    products.assert_right(problem, result, given)
    spoiled = result.clone()
    spoiled[..., -1, -1] += 1
    with pytest.raises(AssertionError, match=f"{problem.m}x{problem.n}x{problem.k}"):
        products.assert_right(problem, spoiled, given)


def test_without_a_gpu_the_gpu_tests_are_skipped_saying_why() -> None:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/gpu", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch sees no NVIDIA GPU here" in done.stdout
    assert "passed" not in done.stdout and "skipped" in done.stdout
