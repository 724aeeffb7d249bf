"""How well does the model order measured timings, on a device it is told about?

    python benchmarks/model_quality.py TABLE.csv.gz --device a100-sxm4-40gb [--json]

The score of a ranker at k: over 16-bit problems with at least 16 timed configs, the geometric mean of
best_time / best_time_among_its_top_k. The model's constants were chosen on half `a` of the problems (fit_model.py);
half `b` is the one to read. The timings are measured, the order is predicted.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import gemm_tuner as gt
from gemm_tuner.settling import MARGIN
from timing_table import TimedProblem, read_timing_table, scored

TOP_K = (1, 2, 4, 8)
WAVES = (0.25, 0.5, 1.0, 2.0, 8.0, math.inf)


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def efficiency(timed: TimedProblem, device: gt.DeviceSpec, top_k: int) -> float:
    """best / best of the model's top k among the timed configs; 1 is perfect."""
    ranked = gt.rank(timed.problem, device, top_k=top_k, configs=list(timed.latency_us))
    return timed.best_us / min(timed.latency_us[prediction.config] for prediction in ranked)


def waves_of(timed: TimedProblem, device: gt.DeviceSpec) -> float:
    """Waves of the config that was really best."""
    best = min(timed.latency_us, key=timed.latency_us.__getitem__)
    return gt.predict(timed.problem, best, device).waves


def scores(problems: list[TimedProblem], device: gt.DeviceSpec) -> dict[str, float]:
    result: dict[str, float] = {"problems": len(problems)}
    for k in TOP_K:
        result[f"top-{k}"] = round(geometric_mean(efficiency(p, device, k) for p in problems), 4)
    return result


def by_group(
    problems: list[TimedProblem], device: gt.DeviceSpec, groups: dict[str, Callable[[TimedProblem], bool]]
) -> dict[str, dict[str, float]]:
    return {
        name: scores(chosen, device) for name, belongs in groups.items() if (chosen := list(filter(belongs, problems)))
    }


def wave_groups(device: gt.DeviceSpec) -> dict[str, Callable[[TimedProblem], bool]]:
    def between(low: float, high: float) -> Callable[[TimedProblem], bool]:
        return lambda timed: low <= waves_of(timed, device) < high

    bounds = zip((0.0, *WAVES), WAVES, strict=False)
    return {f"{low:g} to {high:g} waves": between(low, high) for low, high in bounds}


def alignment_groups() -> dict[str, Callable[[TimedProblem], bool]]:
    def aligned(elements: int) -> Callable[[TimedProblem], bool]:
        return lambda timed: timed.problem.alignment == elements

    return {f"{elements} elements": aligned(elements) for elements in (1, 2, 4, 8, 16)}


def kept_best(problems: list[TimedProblem], device: gt.DeviceSpec) -> float:
    """What the space keeps: geometric mean of best / best among the timed configs that space() has not trimmed."""

    def kept(timed: TimedProblem) -> float:
        # the tables know one group_m, so a config counts as kept whatever its group_m
        space = {config.replace(group_m=8) for config in gt.space(timed.problem, device)}
        return timed.best_us / min((t for c, t in timed.latency_us.items() if c in space), default=math.inf)

    return geometric_mean(max(kept(p), 1e-3) for p in problems)


def library_quality(problems: list[TimedProblem], device: gt.DeviceSpec) -> dict[str, float]:
    """The predicted library latency against the measured one, and what trusting it costs."""
    timed = [p for p in problems if math.isfinite(p.library_us)]
    errors = [math.log(gt.predict_library(p.problem, device) / p.library_us) for p in timed]
    return {
        "problems": len(timed),
        "geomean predicted/measured": round(math.exp(sum(errors) / len(errors)), 3),
        "median |log error|": round(sorted(abs(e) for e in errors)[len(errors) // 2], 3),
    }


def decision_quality(problems: list[TimedProblem], device: gt.DeviceSpec) -> dict[str, float]:
    """What tune's predicted choice between the library and Triton's first would have cost or won."""
    ratios = []  # measured Triton over measured library, where Triton is chosen
    for timed in problems:
        first = gt.rank(timed.problem, device, top_k=1, configs=list(timed.latency_us))[0]
        chosen = first.latency_us < gt.predict_library(timed.problem, device) * (1 - MARGIN)
        if chosen and math.isfinite(timed.library_us):
            ratios.append(timed.latency_us[first.config] / timed.library_us)
    return {
        "margin": MARGIN,
        "Triton chosen": round(len(ratios) / len(problems), 3),
        "of these over 2 % slower": round(sum(r > 1.02 for r in ratios) / max(len(ratios), 1), 3),
        "geomean latency of these over library": round(geometric_mean(ratios), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--device", required=True, help="catalogue name of the device that the table was measured on")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    device = gt.device(given.device)
    everything = read_timing_table(given.table)
    problems = scored(everything)
    half = {name: [p for p in problems if p.half == name] for name in "ab"}
    report = {
        "device": str(device),
        "table": given.table.name,
        "all": scores(problems, device),
        "half a (constants chosen here)": scores(half["a"], device),
        "half b (held out)": scores(half["b"], device),
        "half b by waves of the best config": by_group(half["b"], device, wave_groups(device)),
        "half b by alignment": by_group(half["b"], device, alignment_groups()),
        "best kept by space, half b": round(kept_best(half["b"], device), 4),
        "library, half b": library_quality(half["b"], device),
        "library or Triton, half b": decision_quality(half["b"], device),
    }
    if given.json:
        json.dump(report, sys.stdout, indent=1)
        print()
        return 0
    for name, value in report.items():
        if isinstance(value, dict) and all(isinstance(v, dict) for v in value.values()):
            print(f"{name}:")
            for group, numbers in value.items():
                print(f"  {group:22s} {numbers}")
        else:
            print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
