"""What measured tuning finds and what it costs, at several SM counts, on real layers: Llama-3.2-1B's and ViT-B/16's.

    python benchmarks/gpu/tuning.py --out results [--sms 16,24,32,48,64,0] [--stock-sms 32,0] [--minutes 8]

For each SM count (0 is the whole GPU) a dozen problems are tuned with empty caches, by `gt.tune`. Then one small sweep
times what was tried and many configs more, and the library: by its medians the winners are judged against the best of
the sweep, and against the library. Last, stock max-autotune tunes the same products.

tuning.json and tuning_sweep.jsonl.gz go into the folder, and grow as it goes. A part that fails or finds no time says
so in the file. Exit codes: 0 done, 1 a part is missing, 2 no GPU, or the arguments make no sense.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this sees its own folder only

import gemm_tuner as gt
from gemm_tuner import measuring, tuning
from gemm_tuner.compile import Kernel
from gemm_tuner.errors import GemmTunerError
from gemm_tuner.measuring import Measured
from gpu.tuning_figures import Line, judged, line_of, summary
from sweep import Plan, sweep
from sweep_file import read_recording
from sweep_space import candidates

LLAMA = [(m, n, k) for m in (16, 512) for n, k in ((2048, 2048), (512, 2048), (8192, 2048), (2048, 8192))]
VIT = [(197, n, k) for n, k in ((2304, 768), (768, 768), (3072, 768), (768, 3072))]
PROBLEMS = [gt.GemmProblem(m=m, n=n, k=k, dtype="bfloat16", layout="nt") for m, n, k in LLAMA + VIT]
SMS, STOCK_SMS = "32,16,64,24,48,0", "32,0"  # the most telling first
TUNING_SHARE, SWEEP_SHARE = 0.5, 0.25  # of the time; stock's tuning has the rest
SWEPT = 24  # configs of each problem, besides those that were tried
SWEEP_ROUNDS = 9  # the best of many medians of few would look better than it is
SWEEP_FILE = "tuning_sweep.jsonl.gz"
EMPTY = ("GEMM_TUNER_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@dataclass
class Findings:
    """The JSON file. parts: by SM count; missing: what there is not, and why."""

    date: str
    device: str
    versions: Mapping[str, str]
    kernel: str
    basis: str = "measured"
    units: str = (
        "latency_us: of the race; regret, over_library: of the winner's median over the least of the sweep, over the "
        "library's there, 1 is equal; launches: reckoned from repeats and the timer's rules, for stock counted"
    )
    parts: list[Line] = field(default_factory=list)
    missing: list[Line] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Replaces the file in one step."""
        new = folder / "tuning.json.new"
        new.write_text(json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")
        new.replace(folder / "tuning.json")

    def miss(self, what: str, sms: int, why: object) -> None:
        """Notes that a part is missing."""
        self.missing.append({"what": what, "sms": sms, "why": str(why)})
        print(f"{what}, {sms} SMs: {why}", file=sys.stderr)

    def part(self, sms: int) -> Line:
        """That of so many SMs, made where there is none."""
        known = next((each for each in self.parts if each["sms"] == sms), None)
        if known is None:
            known = {"sms": sms}
            self.parts.append(known)
        return known


@contextmanager
def empty_caches() -> Iterator[None]:
    """Nothing that was compiled before is found in the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, mock.patch.dict(os.environ):
        os.environ.update({name: str(Path(folder) / name.lower()) for name in EMPTY})
        yield


def tuned(
    problems: Sequence[gt.GemmProblem], device: gt.DeviceSpec, kernel: Kernel, *, top_k: int, budget_s: float
) -> tuple[float, dict[gt.GemmProblem, Measured]]:
    """Seconds that `gt.tune` took with empty caches, and what each of its races found."""
    found: dict[gt.GemmProblem, Measured] = {}

    def kept(problem: gt.GemmProblem, *arguments: Any, **options: Any) -> Measured:
        # the sweep that judges the winners times no algorithms of the library's
        found[problem] = measure(problem, *arguments, **{**options, "algorithms": 0})
        return found[problem]

    measure = measuring.measure
    with empty_caches(), mock.patch.object(tuning, "measure", kept):
        result = gt.tune(problems, device, measured=True, kernel=kernel, top_k=top_k, budget_s=budget_s)
    return result.seconds, found


def stock_tuned(problems: Sequence[gt.GemmProblem], sms: int, seconds: float) -> tuple[list[Line], str]:
    """What stock max-autotune spent on each, as stock.py counts it, within so many seconds; and why some is missing."""
    products = [f"{each.m}x{each.n}x{each.k}" for each in problems]
    command = [sys.executable, str(Path(__file__).with_name("stock.py")), "--sms", str(sms), *products]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as log, empty_caches():
        try:
            code: int | None = subprocess.run(command, stdout=out, stderr=log, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            code = None
        for file in (out, log):
            file.seek(0)
        lines = [json.loads(line) for line in out if line.startswith("{")]
        said = log.read().splitlines()[-1:] or [""]
    if len(lines) == len(problems):
        return lines, ""
    end = f"{seconds:.3g} s did not suffice" if code is None else f"it ended with status {code}: {said[0]}"
    return lines, f"{len(lines)} of {len(problems)} products: {end}"


@dataclass(frozen=True)
class Bench:
    """One run of all parts, within so many seconds."""

    here: gt.DeviceSpec
    kernel: Kernel
    problems: Sequence[gt.GemmProblem]
    sms: Sequence[int]
    stock_sms: Sequence[int]
    out: Path
    top_k: int
    swept: int
    seconds: float

    def run(self) -> Findings:
        """Tunes, sweeps, judges, and has stock tune."""
        start_s = time.monotonic()
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        found = Findings(now, self.here.name, asdict(tuning.present_versions(self.here)), self.kernel)
        races = self._tune(found, start_s + TUNING_SHARE * self.seconds)
        found.save(self.out)
        self._judge(found, races)
        found.save(self.out)
        for i, sms in enumerate(self.stock_sms):
            left_s = start_s + self.seconds - time.monotonic()
            lines, why = stock_tuned(self.problems, sms, max(1.0, left_s / (len(self.stock_sms) - i)))
            if lines:
                found.part(sms or self.here.available_sms)["stock"] = lines
            if why:
                found.miss("stock", sms, why)
        for part in found.parts:
            if "tuned" in part:
                part["summary"] = summary(part)
        found.save(self.out)
        return found

    def _tune(self, found: Findings, end_s: float) -> dict[int, dict[gt.GemmProblem, Measured]]:
        races: dict[int, dict[gt.GemmProblem, Measured]] = {}
        for sms in dict.fromkeys(each or self.here.available_sms for each in self.sms):
            left_s = end_s - time.monotonic()
            if left_s <= 0 or sms > self.here.available_sms:
                found.miss("tuning", sms, "the time did not suffice" if left_s <= 0 else f"{self.here} has fewer")
                continue
            device = self.here.with_available_sms(sms)
            try:
                seconds, races[sms] = tuned(self.problems, device, self.kernel, top_k=self.top_k, budget_s=left_s)
            except GemmTunerError as error:
                found.miss("tuning", sms, error)
                continue
            if len(races[sms]) < len(self.problems):
                found.miss("tuning", sms, f"the time sufficed for {len(races[sms])} of {len(self.problems)} problems")
            found.part(sms).update(seconds=seconds, tuned=[line_of(*each) for each in races[sms].items()])
        return races

    def _judge(self, found: Findings, races: Mapping[int, Mapping[gt.GemmProblem, Measured]]) -> None:
        """Adds to each race's line what the sweep says of its winner."""
        if not races:
            return
        plan = Plan(self.here, list(races), kernel=self.kernel, rounds=SWEEP_ROUNDS)
        wanted = {
            problem: list(
                dict.fromkeys(
                    [each for race in races.values() if problem in race for each in race[problem].compiled]
                    + candidates(problem, plan.parts, self.swept, kernel=self.kernel)
                )
            )
            for problem in self.problems
        }
        path = self.out / SWEEP_FILE
        try:
            sweep(plan, wanted, path, seconds=SWEEP_SHARE * self.seconds)
        except GemmTunerError as error:
            found.miss("sweep", 0, error)
            return
        rows = {(row.problem, row.sms): row for row in read_recording(path, self.here.name).rows}
        for sms, race in races.items():
            for line, (problem, measured) in zip(found.part(sms)["tuned"], race.items(), strict=True):
                row = rows.get((problem, sms))
                line.update(judged(measured, row) if row is not None and row.latency_us else {})
                if "regret" not in line:
                    found.miss(f"sweep of {problem}", sms, "it has no time for the winner")


def table(found: Findings) -> str:
    """For a person: a line for each SM count."""
    lines = [f"{found.device}, {found.date[:10]}, kernels: {found.kernel}, measured"]
    for part in found.parts:
        told = part.get("summary", {})
        lines.append(f"{part['sms']} SMs: " + ", ".join(f"{name} {value}" for name, value in told.items()))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--sms", default=SMS)
    parser.add_argument("--stock-sms", default=STOCK_SMS, help="where stock tunes too; none if empty")
    parser.add_argument("--kernel", choices=get_args(Kernel), default="inductor")
    parser.add_argument("--problems", type=int, default=len(PROBLEMS), help="the first so many")
    parser.add_argument("--top-k", type=int, default=8)
    parser.add_argument("--swept", type=int, default=SWEPT, help="configs of a problem besides those tried")
    given = parser.parse_args(arguments)
    try:
        sms, stock_sms = ([int(each) for each in text.split(",") if text] for text in (given.sms, given.stock_sms))
        bench = Bench(
            gt.device(), given.kernel, PROBLEMS[: given.problems], sms, stock_sms, given.out, given.top_k, given.swept,
            60 * given.minutes,
        )  # fmt: skip
        given.out.mkdir(parents=True, exist_ok=True)
    except (GemmTunerError, ValueError, OSError) as error:
        print(f"tuning.py: {error}", file=sys.stderr)
        return 2
    found = bench.run()
    print(table(found))
    return 1 if found.missing else 0


if __name__ == "__main__":
    sys.exit(main())
