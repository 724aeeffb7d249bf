"""Times a wide part of our config space over many problems, at several SM counts of the GPU here, into one sweep file.

    python benchmarks/sweep.py --out sweep.jsonl.gz --minutes 8 [--sms 0,64,48,32,24,16] [--code-device rtx-3060]

SM counts are partitions (CUDA green contexts); 0 is the whole GPU. --code-device: run the code of that smaller GPU,
under its limit of shared memory, on this one. Half of the candidates of a problem are the best predicted, half are
drawn at random, variants of group_m and split_k among them. First all are compiled, in half of the time at most; then
problem by problem and SM count by SM count they are timed in rounds of random order, the library's kernel twice a
round among them, each on operands that are not in L2. The first run of each is checked, every element; the hopeless
are dropped after the first rounds. What spills registers is timed all the same: that is to be learned.

--minutes is a hard limit, and the file is whole at any moment; sweep_file.py tells its format and reads it, replay.py
puts it to use. Exit codes: 0 done, 1 nothing was timed, 2 there is no such GPU, or the arguments make no sense.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import gemm_tuner as gt
from gemm_tuner.binary_cache import Binary
from gemm_tuner.compile import Compiled, CompilePool, Failed, Kernel, compile_checks, compile_problems
from gemm_tuner.errors import GemmTunerError, GpuLostError
from gemm_tuner.trials import TrialError, Trials
from gemm_tuner.tuning import present_versions, trials_on
from sweep_file import DTYPES, SweepWriter, spec_of
from sweep_space import candidates, shapes
from sweep_timing import ProblemSweep, Results

SMS = (0, 64, 48, 32, 24, 16)
ROUNDS = 5

Wanted = Mapping[gt.GemmProblem, Sequence[gt.GemmConfig]]
Checks = Mapping[gt.GemmProblem, tuple[Binary, ...] | Failed]


class OutOfTime(Exception):
    """The time for what was being done is over."""


@dataclass(frozen=True)
class Plan:
    """What is swept. sms: 0 is all there are. code_arch: the code's compute capability, None for the GPU's own."""

    here: gt.DeviceSpec
    sms: Sequence[int] = SMS
    code_arch: int | None = None
    kernel: Kernel = "gemm_tuner"
    rounds: int = ROUNDS
    workers: int | None = None

    @property
    def code(self) -> gt.DeviceSpec:
        """The whole GPU as the code sees it."""
        return spec_of(self.here, self.here.available_sms, self.code_arch)

    @property
    def parts(self) -> list[gt.DeviceSpec]:
        """The GPU as the code sees it, with each number of SMs that it has."""
        counts = dict.fromkeys(each or self.here.available_sms for each in self.sms)
        return [spec_of(self.here, each, self.code_arch) for each in counts if each <= self.here.available_sms]


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends what is inside once so many seconds are over, whatever it is doing. For the main thread."""

    def over(*_: object) -> None:
        raise OutOfTime

    handler = signal.signal(signal.SIGALRM, over)
    outer_s, _ = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))  # 0 would be no limit
    try:
        with contextlib.suppress(OutOfTime):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, outer_s)


def sweep(plan: Plan, wanted: Wanted, out: Path, *, seconds: float, **about: Any) -> int:
    """Times the configs of each problem at each number of SMs, within so many seconds; how many rows `out` then has.

    about: what the file's header says besides. Raises what `tuning.trials_on` and the compiler raise.
    """
    end_s = time.monotonic() + seconds
    rows = 0
    with contextlib.ExitStack() as stack:
        trials = {
            part: stack.enter_context(trials_on(plan.here.with_available_sms(part.available_sms)))
            for part in plan.parts
        }
        checks, compiled, starting = _compiled(plan, wanted, trials.values(), seconds / 2)
        _say(f"{len(compiled)} of {len(wanted)} problems compiled, {end_s - time.monotonic():.0f} s left")
        writer = stack.enter_context(SweepWriter(out, _header(plan) | about, _resources(compiled)))
        with time_limit(end_s - time.monotonic()):
            for thread in starting:
                thread.join()
            for problem in (each for each in wanted if each in compiled):
                swept = ProblemSweep(problem, compiled[problem], checks[problem])
                for part in list(trials):
                    try:
                        row, more = swept.time(trials[part], part, plan.rounds)
                    except GpuLostError as error:
                        _say(f"{part.available_sms} SMs are left out: {error}")
                        trials.pop(part).close()
                        continue
                    writer.add(row, **more)
                    rows += 1
                _say(f"{rows} rows, {end_s - time.monotonic():.0f} s left; {problem}")
    return rows


def _compiled(
    plan: Plan, wanted: Wanted, trials: Iterable[Trials], seconds: float
) -> tuple[Checks, dict[gt.GemmProblem, Results], list[threading.Thread]]:
    """What checks results, and what is compiled of all configs within so many seconds.

    Meanwhile threads start the processes that are to time it: to be joined before those are used.
    """
    checks: dict[gt.GemmProblem, tuple[Binary, ...] | Failed] = {}
    done: dict[gt.GemmProblem, Results] = {}
    starting: list[threading.Thread] = []
    assemble_for = None if plan.code_arch is None else plan.here.compute_capability
    with CompilePool(workers=plan.workers) as pool, time_limit(seconds):
        checks.update(compile_checks(wanted, plan.code, assemble_for=assemble_for, pool=pool))
        for each in trials:
            starting.append(threading.Thread(target=_start, args=(each, checks), daemon=True))
            starting[-1].start()
        results = compile_problems(wanted, plan.code, kernel=plan.kernel, assemble_for=assemble_for, pool=pool)
        with contextlib.closing(results):
            done.update(results)  # one after the other, as far as the time suffices
    return checks, done, starting


def _start(trials: Trials, checks: Checks) -> None:
    """Has the process import torch, with any problem at all; what goes wrong now will again, and is heard of then."""
    found = ((problem, binaries) for problem, binaries in checks.items() if not isinstance(binaries, Failed))
    for problem, binaries in itertools.islice(found, 1):
        with contextlib.suppress(TrialError, GpuLostError):
            trials.prepare(problem, binaries)


def _header(plan: Plan) -> dict[str, Any]:
    here = plan.here
    return {
        "device": here.name,
        "sm_count": here.sm_count,
        "arch": here.compute_capability,
        "code_arch": plan.code.compute_capability,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "basis": "measured",
        "kernel": plan.kernel,
        "rounds": plan.rounds,
        **asdict(present_versions(here)),
    }


def _resources(compiled: Mapping[gt.GemmProblem, Results]) -> dict[gt.GemmConfig, list[gt.KernelResources]]:
    """Of each config, what its kernels need; nothing where none compiles."""
    found: dict[gt.GemmConfig, list[gt.KernelResources]] = {}
    for results in compiled.values():
        for config, result in results.items():
            needs = found.setdefault(config, [])
            if isinstance(result, Compiled):
                needs.append(result.resources)
    return found


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--sms", default=",".join(map(str, SMS)))
    parser.add_argument("--code-device", help="the GPU whose code is run, by its name in the catalogue")
    parser.add_argument("--kernel", choices=get_args(Kernel), default="gemm_tuner")
    parser.add_argument("--dtype", choices=list(DTYPES.values()), default="float16")
    parser.add_argument("--layouts", default="nt")
    parser.add_argument("--per-problem", type=int, default=48, metavar="CONFIGS")
    parser.add_argument("--limit", type=int, metavar="PROBLEMS", help="take the first so many")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="compiling processes; one per core by default")
    given = parser.parse_args(arguments)
    end_s = time.monotonic() + 60 * given.minutes
    try:
        code_arch = gt.device(given.code_device).compute_capability if given.code_device else None
        sms = [int(each) for each in given.sms.split(",")]
        plan = Plan(gt.device(), sms, code_arch, given.kernel, given.rounds, given.workers)
        problems = [
            gt.GemmProblem(m=m, n=n, k=k, dtype=given.dtype, layout=layout)
            for m, n, k in shapes(given.seed)
            for layout in given.layouts.split(",")
        ][: given.limit]
        wanted = {
            each: candidates(each, plan.parts, given.per_problem, kernel=given.kernel, seed=given.seed)
            for each in problems
        }
        about = {"code_device": given.code_device, "per_problem": given.per_problem, "seed": given.seed}
        rows = sweep(plan, wanted, given.out, seconds=end_s - time.monotonic(), **about)
    except (GemmTunerError, ValueError, OSError) as error:
        print(f"sweep.py: {error}", file=sys.stderr)
        return 2
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
