"""Chooses the model's constants on half `a` of a timing table's problems, and reports both halves.

    python benchmarks/fit_model.py TABLE.csv.gz --device a100-sxm4-40gb [--generations 40] [--library]

Differential evolution inside bounds that hardware documents and microbenchmarks leave open. The loss adds the regret of
the model's first, first two and first four choices to 0.15 times the absolute log error of every prediction, so that
orders are not bought with absurd times. The constants in csrc/model/constants.hpp are the result, rounded. Needs scipy.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import differential_evolution

import gemm_tuner as gt
from gemm_tuner._core import latencies_us
from timing_table import TimedProblem, read_timing_table, scored

BOUNDS = {
    "launch_us": (2, 5),
    "memory_latency_clk": (500, 1100),
    "l2_bytes_per_clk_per_sm": (34, 64),
    "l2_hit_fraction": (0.3, 1.0),
    "dram_efficiency": (0.8, 0.95),
    "tensor_efficiency": (0.8, 1.0),
    "mma_per_sm_in_flight": (4, 64),
    "iteration_clk": (10, 150),
    "load_issue_clk": (1, 30),
    "cta_clk": (200, 3000),
    "store_bytes_per_clk_per_sm": (8, 64),
    "overlap": (0, 1),
    "short_row_bytes": (8, 128),
    "narrow_load_clk": (0.1, 4),
    "exposed": (0, 1),
    "contention": (0, 0.4),
}
LIBRARY_BOUNDS = {
    "library_contention": (0, 1),
    "library_overhead": (0, 1.5),
    "library_edge": (0.5, 8),
    "library_narrow": (1, 2.5),
}
LOG_ERROR_WEIGHT = 0.15


@dataclass(frozen=True)
class Timings:
    """A table as arrays: one row per problem, one column per config, infinite where a config was not timed."""

    problems: list[gt.GemmProblem]
    configs: list[gt.GemmConfig]
    timed: NDArray[np.bool_]
    measured_us: NDArray[np.float64]

    @classmethod
    def of(cls, table: list[TimedProblem]) -> Timings:
        shape = len(table), max(len(p.latency_us) for p in table)
        measured = np.full(shape, np.inf)
        for row, timed in zip(measured, table, strict=True):
            row[: len(timed.latency_us)] = list(timed.latency_us.values())
        problems = [p.problem for p in table for _ in p.latency_us]
        configs = [config for p in table for config in p.latency_us]
        return cls(problems, configs, np.isfinite(measured), measured)

    def predicted_us(self, device: gt.DeviceSpec, constants: gt.ModelConstants) -> NDArray[np.float64]:
        predicted = np.full(self.measured_us.shape, np.inf)
        predicted[self.timed] = latencies_us(self.problems, self.configs, device, constants)
        return predicted

    def regret(self, predicted_us: NDArray[np.float64], top_k: int) -> float:
        """Mean log of best-of-top-k over best."""
        order = np.argsort(predicted_us, axis=1, kind="stable")[:, :top_k]
        chosen = np.take_along_axis(self.measured_us, order, axis=1).min(axis=1)
        return float(np.log(chosen / self.measured_us.min(axis=1)).mean())

    def log_error(self, predicted_us: NDArray[np.float64]) -> float:
        error = np.abs(np.log(predicted_us[self.timed] / self.measured_us[self.timed]))
        return float(np.minimum(error, 1).mean())  # one outlier is not worth more than an e-fold


def constants_at(point: NDArray[np.float64]) -> gt.ModelConstants:
    values = {name: low + (high - low) * float(x) for x, (name, (low, high)) in zip(point, BOUNDS.items(), strict=True)}
    return gt.ModelConstants(**values)


def loss(point: NDArray[np.float64], timings: Timings, device: gt.DeviceSpec) -> float:
    predicted = timings.predicted_us(device, constants_at(point))
    regrets = timings.regret(predicted, 1) + 0.5 * timings.regret(predicted, 2) + timings.regret(predicted, 4)
    return regrets + LOG_ERROR_WEIGHT * timings.log_error(predicted)


def library_error(point: NDArray[np.float64], table: list[TimedProblem], device: gt.DeviceSpec) -> float:
    """Mean |log(predicted / measured)| of the library, with the library's own constants taken from `point`."""
    constants = gt.ModelConstants(**dict(zip(LIBRARY_BOUNDS, map(float, point), strict=True)))
    predicted = np.array([gt.predict_library(p.problem, device, constants) for p in table])
    measured = np.array([p.library_us for p in table])
    return float(np.minimum(np.abs(np.log(predicted / measured)), 1).mean())


def fit_library(table: list[TimedProblem], device: gt.DeviceSpec, generations: int, seed: int) -> None:
    """Prints the library's constants chosen on half a, and what they and the committed ones make of both halves."""
    timed = {h: [p for p in table if p.half == h and math.isfinite(p.library_us)] for h in "ab"}
    bounds = list(LIBRARY_BOUNDS.values())
    found = differential_evolution(
        library_error, bounds, args=(timed["a"], device), maxiter=generations, popsize=5, seed=seed, polish=False
    )
    committed = np.array([getattr(gt.ModelConstants(), name) for name in LIBRARY_BOUNDS])
    for title, point in (("committed", committed), ("fitted on half a", found.x)):
        values = ", ".join(f"{name}={value:.4g}" for name, value in zip(LIBRARY_BOUNDS, point, strict=True))
        errors = ", ".join(f"half {h}: mean |log error| {library_error(point, timed[h], device):.4f}" for h in "ab")
        print(f"library, {title}:\n  {values}\n  {errors}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--generations", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--library", action="store_true", help="choose the library's own constants instead")
    given = parser.parse_args()
    device = gt.device(given.device)
    table = scored(read_timing_table(given.table))
    if given.library:
        fit_library(table, device, given.generations, given.seed)
        return 0
    halves = {name: Timings.of([p for p in table if p.half == name]) for name in "ab"}
    found = differential_evolution(
        loss,
        [(0, 1)] * len(BOUNDS),
        args=(halves["a"], device),
        maxiter=given.generations,
        popsize=4,
        seed=given.seed,
        polish=False,
    )
    fitted = constants_at(found.x)
    for title, constants in (("committed", gt.ModelConstants()), ("fitted on half a", fitted)):
        print(f"{title}:")
        print("  " + ", ".join(f"{name}={getattr(constants, name):.4g}" for name in BOUNDS))
        for name, timings in halves.items():
            predicted = timings.predicted_us(device, constants)
            tops = ", ".join(f"top-{k} {np.exp(-timings.regret(predicted, k)):.4f}" for k in (1, 2, 4, 8))
            print(f"  half {name}: {tops}, mean |log error| {timings.log_error(predicted):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
