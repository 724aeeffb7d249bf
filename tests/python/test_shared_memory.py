"""Predicted shared memory against the compiler's: the recorded table, exact cases, and a few compiled here and now."""

from __future__ import annotations

from pathlib import Path

import pytest

import gemm_tuner as gt
import shared_memory
from gemm_tuner._core import predicted_smem_bytes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("shared_memory_*.jsonl.gz"))
PROBLEM = gt.GemmProblem(m=2048, n=2048, k=2048)

# (problem, blocks, warps, stages, split_k, compute capability) -> what Triton 3.7.1 gave
CASES = [
    (PROBLEM, (256, 128, 32), 8, 2, 1, 86, 65536),  # the whole result passes through shared memory
    (PROBLEM, (128, 256, 32), 4, 1, 1, 86, 24576),  # in four rounds, so the operands' tiles need more
    (PROBLEM, (128, 256, 32), 8, 1, 4, 86, 32768),  # float32 parts
    (PROBLEM, (64, 64, 32), 4, 3, 1, 86, 16384),  # two tiles in flight
    (PROBLEM, (64, 64, 32), 4, 1, 1, 86, 8192),
    (PROBLEM.replace(alignment=1), (64, 64, 32), 4, 3, 1, 86, 8192),  # no asynchronous copy of 2 bytes
    (PROBLEM, (64, 16, 16), 8, 5, 1, 86, 8704),  # B has one element a thread: it is not pipelined
    (PROBLEM, (64, 64, 32), 4, 3, 1, 90, 24576),  # wgmma holds a tile longer
    (PROBLEM, (64, 64, 32), 4, 3, 1, 120, 16384),
    (PROBLEM, (64, 64, 32), 4, 3, 1, 75, 8192),  # widened to float32, one operand after the other
]


@pytest.mark.parametrize(("problem", "blocks", "warps", "stages", "split_k", "compute_capability", "smem_bytes"), CASES)
def test_exact_cases(
    problem: gt.GemmProblem,
    blocks: tuple[int, int, int],
    warps: int,
    stages: int,
    split_k: int,
    compute_capability: int,
    smem_bytes: int,
) -> None:
    block_m, block_n, block_k = blocks
    config = gt.GemmConfig(
        block_m=block_m, block_n=block_n, block_k=block_k, num_warps=warps, num_stages=stages, split_k=split_k
    )
    assert predicted_smem_bytes(problem, config, compute_capability) == smem_bytes


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_the_recorded_table_still_holds(path: Path) -> None:
    """Nothing passes that would not run; at most 2 % is refused that would; the table is predicted as it was."""
    recorded = shared_memory.read(path)
    rows = [shared_memory.predicted(row) for row in recorded]
    assert len(rows) >= 200
    for row in rows:
        assert row.smem_bytes is None or row.predicted_smem_bytes >= row.smem_bytes, row
        assert row.illegal is not None or shared_memory.runs(row), row
    refused = sum(row.illegal is not None and shared_memory.runs(row) for row in rows)
    assert refused <= 0.02 * sum(map(shared_memory.runs, rows))
    assert rows == recorded


def test_there_is_a_recorded_table() -> None:
    assert RESULTS


def test_a_few_compiled_now() -> None:
    """Twelve configs of the benchmark, the project's kernel and Inductor's rendered template in turn."""
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    rows = shared_memory.compiled(shared_memory.small_spread(12), workers=2)
    measured = [row for row in rows if row.smem_bytes is not None]
    assert {row.kernel for row in measured} == {"gemm_tuner", "inductor"}
    assert len(measured) >= 10
    for row in measured:
        assert row.predicted_smem_bytes >= (row.smem_bytes or 0), row
        assert row.kernel == "inductor" or row.predicted_smem_bytes == row.smem_bytes, row
