"""What a trial of the native timer costs beyond the time that the kernel itself takes, in microseconds of wall clock.

    python benchmarks/timer_overhead.py [--double] [--json] [--check]

On the GPU of this machine a small product and a larger one, compiled for it, are timed; the overhead is the wall clock
of a trial less what the events say of its launches. Without a GPU, or with --double, the stand-in libcuda is driven
(tests/cpp/fake_libcuda, a double, built by this command): there a kernel takes no real time, so all that passes is
overhead, but of the double's calls in the place of a driver's. --check exits 1 where the median is over 50 us.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the double lives there

import gemm_tuner as gt
from doubles.stand_in import KernelTime, build, fake_image, write_times
from gemm_tuner._core import Launch, Operand, Timer
from gemm_tuner.driver import device_count
from gemm_tuner.settings import settings

LIMIT_US = 50.0
TRIALS = 300
SPAN_US = 25.0  # what the timer aims at between two events
PRODUCTS = ((64, 64, 64), (2048, 2048, 2048))


class Row(NamedTuple):
    """Medians over the trials of one kernel; launches: of one trial."""

    kernel: str
    latency_us: float
    launches: int
    overhead_us: float


def overhead(timer: Timer, launches: list[Launch], kernel: str, *, takes_time: bool) -> Row:
    """The wall clock of a trial less the kernel's time in it, if it takes any."""
    handle = timer.load(launches)
    latency_us = statistics.median(timer.time(handle, repeats=20))
    count = max(1, math.ceil(SPAN_US / latency_us))
    over_us = []
    for _ in range(TRIALS):
        start = perf_counter()
        (each_us,) = timer.time(handle, launches=count)
        wall_us = (perf_counter() - start) * 1e6
        over_us.append(wall_us - count * each_us if takes_time else wall_us)
    return Row(kernel, round(latency_us, 2), count, round(statistics.median(over_us), 1))


def on_the_double() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        double = build(Path(folder), "-O2")
        short, long = fake_image("short(ppp)"), fake_image("long(ppp)")
        double.tell(write_times(Path(folder) / "times.tsv", [KernelTime(short, 2), KernelTime(long, 200)]))
        timer = Timer(library=str(double.path))
        timer.allocate([Operand(name=name, bytes=1 << 20, fill="float16") for name in "abc"])
        images = {"short": short, "long": long}
        launches = {
            name: Launch(cubin=image, entry=name, grid=(64, 1, 1), arguments=["a", "b", "c"])
            for name, image in images.items()
        }
        return [overhead(timer, [launch], f"{name} (double)", takes_time=False) for name, launch in launches.items()]


def on_the_gpu() -> list[Row]:
    from gemm_tuner.compile import Compiled, compile_candidates
    from gemm_tuner.launches import launches_of
    from gemm_tuner.placement import operands_of
    from gemm_tuner.sources import workspace_bytes

    timer = Timer(library=settings().libcuda)
    rows = []
    for m, n, k in PRODUCTS:
        problem = gt.GemmProblem(m=m, n=n, k=k, layout="nt")
        best = gt.rank(problem, gt.device(), top_k=1)[0].config
        compiled = compile_candidates(problem, [best], gt.device())[best]
        if not isinstance(compiled, Compiled):
            raise SystemExit(f"{problem} cannot be timed: {compiled.reason}")
        operands = operands_of(problem, parts_bytes=workspace_bytes(problem, best))
        timer.allocate([Operand(**each._asdict()) for each in operands])
        launches = [Launch(**vars(each)) for each in launches_of(problem, compiled)]
        rows.append(overhead(timer, launches, str(problem), takes_time=True))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    doubled = given.double or device_count() == 0
    rows = on_the_double() if doubled else on_the_gpu()
    device = "stand-in libcuda, a double" if doubled else gt.device().name
    if given.json:
        print(
            json.dumps({"device": device, "cores": os.cpu_count(), "rows": [row._asdict() for row in rows]}, indent=1)
        )
    else:
        print(f"{device}: wall clock of a trial beyond its kernels, median of {TRIALS}")
        for row in rows:
            print(f"{row.kernel}: {row.latency_us} us, {row.launches} launches a trial, {row.overhead_us} us beyond")
    slow = [row for row in rows if row.overhead_us > LIMIT_US]
    if given.check and slow:
        print(f"{len(slow)} of {len(rows)} kernels cost over {LIMIT_US:.0f} us a trial", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
