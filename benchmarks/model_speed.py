"""What the model costs on this machine's CPU, on one core: per predicted config, and per ranked problem.

    python benchmarks/model_speed.py [--json] [--check]

--check exits 1 where predict takes over 0.5 us per config or space + rank of one problem over 1 ms.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import gemm_tuner as gt
from gemm_tuner._core import latencies_us

PREDICT_LIMIT_US = 0.5
RANK_LIMIT_MS = 1.0
REPEATS = 20
DEVICES = ("rtx-3060", "a100-sxm4-40gb", "h100-sxm")
PROBLEMS = (
    (1, 128256, 2048),
    (16, 2048, 8192),
    (128, 128, 8192),
    (512, 2048, 2048),
    (512, 8192, 2048),
    (4096, 4096, 4096),
)


def best_seconds(job: Callable[..., object], *args: object) -> float:
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        job(*args)
        times.append(perf_counter() - start)
    return min(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in DEVICES:
        device = gt.device(name)
        for m, n, k in PROBLEMS:
            problem = gt.GemmProblem(m=m, n=n, k=k, dtype="bfloat16", layout="nt")
            configs = gt.space(problem, device)
            predict_s = best_seconds(latencies_us, [problem] * len(configs), configs, device)
            rank_s = best_seconds(gt.rank, problem, device, 8)
            rows.append(
                {
                    "device": name,
                    "problem": str(problem),
                    "candidates": len(configs),
                    "predict_us_per_config": round(predict_s / len(configs) * 1e6, 3),
                    "space_and_rank_ms": round(rank_s * 1e3, 3),
                }
            )
    slow = [r for r in rows if r["predict_us_per_config"] > PREDICT_LIMIT_US or r["space_and_rank_ms"] > RANK_LIMIT_MS]
    if given.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}, indent=1))
    else:
        for row in rows:
            print("  ".join(f"{value!s:>12}" for value in row.values()))
    if given.check and slow:
        print(f"{len(slow)} of {len(rows)} rows are over the limit", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
