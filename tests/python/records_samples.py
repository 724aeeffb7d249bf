"""A device, a problem, a config and records of them, for the tests of records."""

from __future__ import annotations

from typing import Any

from gemm_tuner import DeviceSpec, FmaRates, GemmConfig, GemmProblem
from gemm_tuner.records import Fingerprint, Record, Versions, aten_kernel

TILED = "gemm_tuner::tiled@0123456789ab"
KERNELS = {TILED, "gemm_tuner::split_k@ba9876543210"}
DEVICE = DeviceSpec(
    name="NVIDIA GeForce RTX 3060",
    compute_capability=86,
    sm_count=28,
    clock_mhz=1777,
    bandwidth_gbs=360,
    l2_bytes=3 << 20,
    smem_per_sm_bytes=100 << 10,
    smem_per_block_optin_bytes=99 << 10,
    max_threads_per_sm=1536,
    max_ctas_per_sm=16,
    fma=FmaRates(fp16=256, bf16=256, tf32=128, int8=512, fp32=128),
    source="catalogue",
)
PROBLEM = GemmProblem(m=512, n=4096, k=1024, layout="nt")
CONFIG = GemmConfig(block_m=128, block_n=64, block_k=32, num_warps=4, num_stages=3)
TOO_BIG = GemmConfig(block_m=256, block_n=256, block_k=64, num_warps=8, num_stages=4)


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "device": Fingerprint.of(DEVICE),
        "problem": PROBLEM,
        "choice": CONFIG,
        "kernel": TILED,
        "latency_us": 93.5,
        "basis": "predicted",
        "kind": "winner",
        "versions": Versions("0.1.0", triton="3.7.1"),
        "time": "2026-01-02T03:04:05+00:00",
    }
    return Record(**{**values, **changes})


def aten(**changes: object) -> Record:
    problem = changes.get("problem", PROBLEM)
    assert isinstance(problem, GemmProblem)
    return record(choice=None, kernel=aten_kernel(problem), reason="the library kernel is predicted faster", **changes)
