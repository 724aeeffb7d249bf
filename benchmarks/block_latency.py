"""How long a transformer block of Llama-3.2-1B takes, and how long its compile: eager, stock Inductor, gemm_tuner.

    python benchmarks/block_latency.py --out results [--sms 0,32,16,64,24,48] [--workloads prefill_512] [--minutes 4]

On the whole GPU (0) and on parts of it, which are CUDA green contexts of so many SMs: what a small GPU has, at the
large one's clock, L2 and memory. Five variants, each in a fresh process with caches of its own:

    eager         no compile
    stock_gated   torch.compile with max_autotune_gemm, its gate shut, as it is on a GPU of fewer than 68 SMs
    stock_forced  the same, its gate held open
    ours_cold     gemm_tuner.enable(policy="measure"), nothing known
    ours_warm     the same, after ours_cold: with the records that it learned, and no other cache

The compile of one is timed while the others sleep; runs are timed in interleaved rounds, L2 flushed. One cell is one
workload on one part; what the minutes do not suffice for is listed as not measured. Into the folder go
block_latency.json, which grows with each cell, and block_records.jsonl, the records learned. Exit codes: 0 done, 1 a
variant failed, 2 no GPU or bad arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu.contest import VARIANTS
from gpu.measuring import MINUTES, SMS, WORKLOADS, Findings, Plan, measure


def table(found: Findings) -> str:
    """One line for each cell and variant, and what is missing."""
    lines = [f"{found.device.get('name', 'no GPU')}, {found.basis} {found.date}, {found.versions}"]
    lines.append(
        f"{'SMs':>5} {'workload':12} {'variant':12} {'compile s':>9} {'GPU us':>9} {'spread':>7} {'wall us':>9} "
        f"{'vs gated':>8} {'Triton':>6} {'library':>7}"
    )
    gated_us = {
        (cell["sms"], cell["workload"]): cell["gpu_us"]["median"]
        for cell in found.cells
        if cell["variant"] == "stock_gated"
    }
    for cell in found.cells:
        gpu, wall, compiled = cell["gpu_us"], cell["wall_us"], cell["compile"]
        reference_us = gated_us.get((cell["sms"], cell["workload"]))
        speedup = "" if reference_us is None else f"{reference_us / gpu['median']:.3f}"
        calls = ["" if compiled[name] is None else compiled[name] for name in ("triton_gemms", "library_gemms")]
        lines.append(
            f"{cell['sms'] or 'all':>5} {cell['workload']:12} {cell['variant']:12} {compiled['seconds']:9.1f} "
            f"{gpu['median']:9.1f} {gpu['spread']:7.1%} {wall['median']:9.1f} {speedup:>8} {calls[0]:>6} {calls[1]:>7}"
        )
    for sentence, cells in (("not measured: {workload}", found.not_measured), ("failed: {variant}", found.failures)):
        lines += [f"{sentence.format(**cell)} on {cell['sms'] or 'all'} SMs: {cell['why']}" for cell in cells]
    return "\n".join(lines)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked; SystemExit 2 for what makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results, made if need be")
    parser.add_argument("--sms", default=",".join(map(str, SMS)), help="SM counts, 0 for all, in order")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--minutes", type=float, default=MINUTES)
    found = parser.parse_args(given)
    for name, known in (("workloads", WORKLOADS), ("variants", VARIANTS)):
        words = getattr(found, name).split(",")
        strange = [word for word in words if word not in known]
        if strange:
            parser.error(f"--{name}: {', '.join(strange)} is none of {', '.join(known)}")
        setattr(found, name, words)
    if not all(word.isdecimal() for word in found.sms.split(",")):
        parser.error(f"--sms: whole numbers with commas between them, got {found.sms!r}")
    found.sms = [int(word) for word in found.sms.split(",")]
    if found.minutes <= 0:
        parser.error(f"--minutes: more than 0, got {found.minutes}")
    return found


def main() -> int:
    """The command."""
    given = arguments()
    from gemm_tuner.driver import device_count

    if device_count() == 0:
        print("A block's latency can only be measured on a GPU: the driver shows none here.", file=sys.stderr)
        return 2
    from gpu.contestant import OnGpu

    given.out.mkdir(parents=True, exist_ok=True)
    found = measure(Plan(OnGpu, given.out, given.sms, given.workloads, given.variants, given.minutes))
    print(table(found))
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
