"""cuBLASLt's algorithms on a real GPU: each computes the problem that it was found for, raced and called by the op."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gemm_tuner as gt
from gemm_tuner import cublaslt
from gemm_tuner._core import LibraryAlgorithm, why_library_lacks
from gemm_tuner.compile import compile_checks
from gemm_tuner.operand import Operand, product_of
from gemm_tuner.records import Fingerprint, Record, Versions
from gpu.test_trials_gpu import EVEN, PROBLEMS, Bench, bench, needs_fp8

__all__ = ["bench"]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU here, which it runs on"),
]

M, N, K = 128, 256, 512


def algorithms_of(problem: gt.GemmProblem, bench: Bench) -> list[LibraryAlgorithm]:
    """Those of the heuristic, and the GPU prepared for them."""
    ((_, checks),) = compile_checks([problem], bench.here, pool=bench.pool)
    assert isinstance(checks, tuple), checks
    bench.trials.prepare(problem, checks, parts_bytes=cublaslt.WORKSPACE_BYTES)
    return bench.trials.algorithms(cublaslt.ALGORITHMS)


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_algorithm_is_right_and_timed_beside_aten(name: str, bench: Bench) -> None:
    needs_fp8(name, bench.here)
    found = algorithms_of(PROBLEMS[name], bench)
    assert bool(found) == (why_library_lacks(PROBLEMS[name]) is None)
    for each in found:
        assert 0.5 < bench.median_us(each) < 1e4, each
    assert 0.5 < bench.median_us(None) < 1e4


def test_the_heuristics_first_is_about_as_fast_as_aten(bench: Bench) -> None:
    first, *_ = algorithms_of(EVEN, bench)
    assert bench.median_us(first) < 1.5 * bench.median_us(None)


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("activation", [None, "relu", "gelu_tanh"])
def test_the_op_runs_it(layout: str, activation: str | None, bench: Bench, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(1)
    a = torch.randn(*((K, M) if layout[0] == "t" else (M, K)), generator=draw).cuda().half()
    b = (torch.randn(*((N, K) if layout[1] == "t" else (K, N)), generator=draw) / K**0.5).cuda().half()
    a, b = a.mT if layout[0] == "t" else a, b.mT if layout[1] == "t" else b
    bias = torch.randn(N, generator=draw).cuda().half()
    one, other = (Operand(each.shape, each.stride(), 0, "float16") for each in (a, b))
    epilogue = activation or "none"
    problem = product_of("addmm", one, other, out_dtype="float16", precision="ieee", epilogue=epilogue)
    *_, last = algorithms_of(problem, bench)
    record = Record(
        device=Fingerprint.of(bench.here),
        problem=problem,
        choice=last,
        kernel=cublaslt.library_kernel() or "",
        latency_us=1.0,
        basis="measured",
        kind="winner",
        versions=Versions("0"),
    )
    expected = torch.addmm(bias.float(), a.float(), b.float())
    if activation == "relu":
        expected = expected.relu()
    elif activation == "gelu_tanh":
        expected = torch.nn.functional.gelu(expected, approximate="tanh")
    with gt.use_records(record) as used:
        for _ in range(3):  # the second call is the first that Python has no part in
            out = gt.matmul(a, b, bias, activation)
            torch.testing.assert_close(out, expected.half(), rtol=5e-3, atol=5e-3)
        assert used.choices[problem].config == last
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = gt.matmul(a, b, bias, activation)
        graph.replay()
        torch.testing.assert_close(captured, out, rtol=0, atol=0)


def test_the_library_plans_for_a_part(bench: Bench) -> None:
    place = (EVEN.k, EVEN.k, 0, 0)
    library = cublaslt.opened(0)
    part, whole = (
        library.product(EVEN, place, sm_count=sms).algorithms(workspace_bytes=cublaslt.WORKSPACE_BYTES, count=8)
        for sms in (8, 0)
    )
    assert part and whole
