"""Predicted shared memory against the compiler's, for the project's kernels and Inductor's own `mm` template.

    python benchmarks/shared_memory.py [--configs 300] [--seed 1] [-o FILE]
    python benchmarks/shared_memory.py --again FILE     # the present model on a table that was compiled before

Compiles a spread of configs for five architectures; needs no GPU. Writes one JSON line per compile: kernel, problem,
config, compute capability, what was predicted, and the compiler's shared memory, registers, spills or error. Prints how
often the prediction is exact, how often the legality predicate passes what would not run (must never happen), and how
often it refuses what would (at most 2 %).
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gemm_tuner as gt
from gemm_tuner._core import predicted_smem_bytes, why_illegal
from gemm_tuner.compile import CompilePool
from gemm_tuner.worker_pool import Lost

sys.path.insert(0, str(Path(__file__).parent))  # workers import compile_either from here

DEVICES = {80: "a100-sxm4-40gb", 86: "rtx-3060", 89: "l4", 90: "h100-sxm", 120: "rtx-5060"}
TIMEOUT_S = 600.0  # of what only spills ptxas takes minutes
_OPS = {"int8": "int_mm", "float8_e4m3fn": "scaled_mm"}


@dataclass(frozen=True)
class Row:
    """One compile. Bytes per CTA; `error` is the compiler's, `illegal` the predicate's reason; None without one."""

    kernel: str
    compute_capability: int
    problem: dict[str, Any]
    config: dict[str, Any]
    predicted_smem_bytes: int = 0
    illegal: str | None = None
    smem_bytes: int | None = None
    registers_per_thread: int | None = None
    spill_bytes: int | None = None
    tensor_core_instructions: int | None = None
    error: str | None = None


def spread(count: int, seed: int) -> Iterator[Row]:
    """`count` configs over kernels and architectures in turn, everything else drawn; the results are still empty."""
    draw = random.Random(seed)
    kinds = [(kernel, cc) for cc in DEVICES for kernel in ("gemm_tuner", "inductor")]
    for index in range(count):
        kernel, compute_capability = kinds[index % len(kinds)]
        problem = _problem(draw, kernel, compute_capability)
        row = Row(kernel, compute_capability, problem.to_dict(), _config(draw, kernel).to_dict())
        yield predicted(row)


def predicted(row: Row) -> Row:
    """The row with what the present model says of it."""
    problem, config = gt.GemmProblem.from_dict(row.problem), gt.GemmConfig.from_dict(row.config)
    if row.kernel == "inductor":  # it knows each operand's own alignment; the problem has the lesser of the two
        a_pitch = problem.m if problem.layout[0] == "t" else problem.k
        b_pitch = problem.k if problem.layout[1] == "t" else problem.n
        problem = problem.replace(alignment=max(min(16, pitch & -pitch) for pitch in (a_pitch, b_pitch)))
    return replace(
        row,
        predicted_smem_bytes=predicted_smem_bytes(problem, config, row.compute_capability),
        illegal=why_illegal(problem, config, gt.device(DEVICES[row.compute_capability])),
    )


def small_spread(count: int) -> list[Row]:
    """The first `count` of the spread that are legal and quick to compile."""
    quick = (row for row in spread(100 * count, seed=1) if row.illegal is None and _accumulators(row) <= 64)
    return list(itertools.islice(quick, count))


def _accumulators(row: Row) -> int:
    config = row.config
    return int(config["block_m"] * config["block_n"] // (32 * config["num_warps"]))


def _problem(draw: random.Random, kernel: str, compute_capability: int) -> gt.GemmProblem:
    dtypes = ["float16"] * 5 + ["bfloat16", "float32", "tf32"]
    if kernel == "gemm_tuner":
        dtypes += ["int8", "float8_e4m3fn"]  # Inductor has other templates for these
    dtype = draw.choice(dtypes)
    size = draw.choice((2048, 2048, 2048, 2000, 1028, 1026, 1025))
    return gt.GemmProblem(
        m=draw.choice((size, 1000)),
        n=size,
        k=draw.choice((size, 2048)),
        dtype="float32" if dtype == "tf32" else dtype,
        precision="tf32" if dtype == "tf32" else "ieee",
        op=_OPS.get(dtype, "mm"),
        layout=draw.choice(("nn", "nt", "tn", "tt")),
    )


def _config(draw: random.Random, kernel: str) -> gt.GemmConfig:
    while True:
        block_m, block_n = draw.choice((16, 32, 64, 128, 256)), draw.choice((16, 32, 64, 128, 256))
        num_warps = draw.choice((1, 2, 4, 4, 8, 8, 16))
        accumulators = block_m * block_n // (32 * num_warps)  # per thread, 32-bit registers
        if 1 <= accumulators <= 512:  # more only spills, and takes ptxas minutes
            break
    return gt.GemmConfig(
        block_m=block_m,
        block_n=block_n,
        block_k=draw.choice((16, 32, 32, 64, 64, 128)),
        num_warps=num_warps,
        num_stages=draw.choice((1, 2, 3, 4, 5, 6)),
        split_k=draw.choice((1, 1, 4)) if kernel == "gemm_tuner" else 1,
    )


def compiled(rows: Iterable[Row], *, workers: int, on_done: Callable[[int], None] = lambda done: None) -> list[Row]:
    """The rows with what the compiler made of them."""
    rows = list(rows)
    jobs = [{key: asdict(row)[key] for key in ("kernel", "problem", "config", "compute_capability")} for row in rows]
    with CompilePool(workers=workers, timeout_s=TIMEOUT_S, job="compile_either:job") as pool:
        for done, (index, answer) in enumerate(pool.workers.run(jobs), start=1):
            found = {"error": answer.reason} if isinstance(answer, Lost) else answer
            rows[index] = Row(**{**asdict(rows[index]), **found})
            on_done(done)
    return rows


def runs(row: Row) -> bool:
    """Would the device launch it?"""
    limit = gt.device(DEVICES[row.compute_capability]).smem_per_block_optin_bytes
    return row.smem_bytes is not None and row.smem_bytes <= limit


def summary(rows: list[Row]) -> str:
    """The three numbers that matter, per kernel and architecture."""
    lines = [
        f"{'kernel':<12}{'sm':>4}{'configs':>9}{'exact':>7}{'over':>6}{'under':>7}"
        f"{'passed, would fail':>20}{'refused, would run':>20}"
    ]
    groups = sorted({(row.kernel, row.compute_capability) for row in rows})
    for kernel, cc in [*groups, ("all", 0)]:
        chosen = [row for row in rows if kernel == "all" or (row.kernel, row.compute_capability) == (kernel, cc)]
        measured = [row for row in chosen if row.smem_bytes is not None]
        exact = sum(row.predicted_smem_bytes == row.smem_bytes for row in measured)
        over = sum(row.predicted_smem_bytes > (row.smem_bytes or 0) for row in measured)
        under = len(measured) - exact - over
        passed = sum(row.illegal is None and not runs(row) for row in chosen)
        refused = sum(row.illegal is not None and runs(row) for row in chosen)
        accepted = max(1, sum(map(runs, chosen)))
        share = f"{refused} of {accepted} ({refused / accepted:.1%})"
        lines.append(f"{kernel:<12}{cc or '':>4}{len(chosen):>9}{exact:>7}{over:>6}{under:>7}{passed:>20}{share:>20}")
    return "\n".join(lines)


def write(rows: Iterable[Row], path: Path) -> None:
    """JSON lines, compressed where the name ends in .gz (without a time stamp, so equal tables are equal files)."""
    text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def read(path: Path) -> list[Row]:
    """The inverse of write."""
    content = path.read_bytes()
    text = gzip.decompress(content).decode() if path.suffix == ".gz" else content.decode()
    return [Row(**json.loads(line)) for line in text.splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--again", type=Path, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    def progress(done: int) -> None:
        if done % 20 == 0:
            print(f"{done} of {options.configs} compiled", file=sys.stderr)

    if options.again:
        rows = [predicted(row) for row in read(options.again)]
    else:
        rows = compiled(spread(options.configs, options.seed), workers=options.workers, on_done=progress)
    if options.output:
        write(rows, options.output)
    print(summary(rows))
    wrong = [row for row in rows if row.illegal is None and not runs(row)]
    for row in wrong:
        print(row, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
