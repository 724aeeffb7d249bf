"""What tests of Inductor on a virtual GPU (a double) share: a graph, its problem, records, kernels read back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import gemm_tuner as gt
from doubles.graphs import Graph, TritonGemm
from gemm_tuner.inductor.plan import own_of, without_record
from gemm_tuner.inductor.session import Report
from gemm_tuner.records import Fingerprint, Record, Versions
from gemm_tuner.sources import kernel_id

TESTS = Path(__file__).parents[1]
STOCK_WARNING = "Not enough SMs to use max_autotune_gemm mode"
MLP = ((72, 1040), (1040, 520))  # small tiles: with large ones the GELU would spill, and Inductor not fuse it
MLP_PROBLEM = gt.GemmProblem(m=72, n=520, k=1040)


def mlp(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return nn.functional.gelu(x @ w)


def asked(report: Report) -> set[gt.GemmProblem]:
    return {each.problem for each in report.decisions}


def best(problem: gt.GemmProblem, device: gt.DeviceSpec) -> gt.GemmConfig:
    """The model's best config that Inductor's templates can run."""
    served = [config for config in gt.space(problem, device) if config.family == "tiled"]
    return gt.rank(problem, device, configs=served)[0].config


def record(problem: gt.GemmProblem, device: gt.DeviceSpec, choice: gt.GemmConfig | None) -> Record:
    return Record(
        device=Fingerprint.of(device),
        problem=problem,
        choice=choice,
        kernel=f"aten::{problem.op}" if choice is None else kernel_id(choice.family),
        latency_us=1.0,
        basis="predicted",
        kind="winner",
        versions=Versions("0"),
    )


def config_of(kernel: TritonGemm) -> gt.GemmConfig:
    has = kernel.constants
    return gt.GemmConfig(
        block_m=has["BLOCK_M"],
        block_n=has["BLOCK_N"],
        block_k=has["BLOCK_K"],
        group_m=has["GROUP_M"],
        num_warps=kernel.num_warps,
        num_stages=kernel.num_stages,
    )


def k_of(kernel: TritonGemm) -> int:
    """Which the template writes into its text, where it is no symbol: as K, or K1 where there are two products."""
    (k,) = set(re.findall(r"^ +K1? = (\d+)$", kernel.source, re.MULTILINE))
    return int(k)


def gemms(graphs: Iterable[Graph]) -> list[TritonGemm]:
    return [kernel for graph in graphs for kernel in graph.gemms]


def offered(choice: object) -> gt.GemmConfig | None:
    """What a choice of Inductor's is, as we offered it; None for ATen."""
    config: gt.GemmConfig | None = choice.annotations["gemm_tuner"][0].config  # type: ignore[attr-defined]
    return config


def wins(winner: gt.GemmConfig | None) -> Callable[[object], float]:
    """Timings in which one candidate takes 1 ms and all others 2."""
    return lambda choice: 1.0 if offered(choice) == winner else 2.0


def race(problem: gt.GemmProblem, device: gt.DeviceSpec, top_k: int = 4) -> tuple[gt.GemmConfig, ...]:
    own = own_of(problem, device, is_fusable=True)
    return without_record(problem, problem, device, "measure", top_k, evidence=lambda *_: None, own=own).configs


def fresh_process(script: str, **environment: str) -> Any:
    """What the script prints last, as JSON, run by a new interpreter that can import the doubles."""
    paths = os.pathsep.join([str(TESTS), str(TESTS / "python")])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
