"""Reads a table of measured GEMM timings: one row per (problem, choice), the format of PyTorch's AutoHeuristic data.

Columns: gpu, src (`triton`, or `extern` for cuBLAS), m, n, k, dtype, tf32, a_stride0, a_stride1, b_stride0, b_stride1
(elements), BM, BN, BK, stages, warps (empty for `extern`), median_ms, min_ms, n. Kernels were Inductor's `mm` template
with GROUP_M = 8 and no split-K.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gemm_tuner import GemmConfig, GemmProblem

GROUP_M = 8


@dataclass
class TimedProblem:
    """A problem with what was measured for it: microseconds by config, and the library's where it was timed."""

    problem: GemmProblem
    latency_us: dict[GemmConfig, float] = field(default_factory=dict)
    library_us: float = math.inf

    @property
    def best_us(self) -> float:
        return min(self.latency_us.values())

    @property
    def half(self) -> str:
        """`a` or `b`: constants are chosen on one half of the problems and judged on the other."""
        return "ab"[zlib.crc32(repr(self.problem.to_dict()).encode()) % 2]


def largest_power_of_two(value: int, limit: int = 16) -> int:
    return min(limit, value & -value)


def problem_of(row: dict[str, str]) -> GemmProblem:
    m, n, k = int(row["m"]), int(row["n"]), int(row["k"])
    a_rows = int(row["a_stride1"]) == 1
    b_rows = int(row["b_stride1"]) == 1
    a_pitch = int(row["a_stride0"] if a_rows else row["a_stride1"])
    b_pitch = int(row["b_stride0"] if b_rows else row["b_stride1"])
    return GemmProblem(
        m=m,
        n=n,
        k=k,
        dtype=row["dtype"].removeprefix("torch."),
        precision="tf32" if row["tf32"] == "True" else "ieee",
        layout=("n" if a_rows else "t") + ("n" if b_rows else "t"),
        alignment=min(largest_power_of_two(a_pitch or k), largest_power_of_two(b_pitch or n)),
    )


def config_of(row: dict[str, str]) -> GemmConfig:
    return GemmConfig(
        block_m=int(float(row["BM"])),
        block_n=int(float(row["BN"])),
        block_k=int(float(row["BK"])),
        num_stages=int(float(row["stages"])),
        num_warps=int(float(row["warps"])),
        group_m=GROUP_M,
    )


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        reader = csv.reader(file)
        names = next(reader)
        for values in reader:
            # two columns are called n: the first is the problem's, the last counts observations
            yield dict(reversed(list(zip(names, values, strict=True))))


def read_timing_table(path: Path) -> list[TimedProblem]:
    """Every problem of the table; failed configs (`inf`) are left out."""
    found: dict[GemmProblem, TimedProblem] = {}
    for row in rows_of(path):
        problem = problem_of(row)
        timed = found.setdefault(problem, TimedProblem(problem))
        latency_us = float(row["median_ms"]) * 1e3
        if row["src"] != "triton":
            timed.library_us = min(timed.library_us, latency_us)
        elif math.isfinite(latency_us):
            timed.latency_us[config_of(row)] = latency_us
    return list(found.values())


def scored(problems: list[TimedProblem]) -> list[TimedProblem]:
    """Those that the score counts: 16-bit elements, at least 16 timed configs."""
    return [p for p in problems if p.problem.dtype in ("float16", "bfloat16") and len(p.latency_us) >= 16]
