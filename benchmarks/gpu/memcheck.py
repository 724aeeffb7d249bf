"""Looks for what kernels may not do with memory: every family under compute-sanitizer's tools.

    python benchmarks/gpu/memcheck.py --out results [--tools memcheck,racecheck,initcheck,synccheck] [--minutes 2]

First every_family.py runs by itself, which compiles the kernels; then under each tool, and once under the first with an
access to nobody's memory planted in it, which must be found: a tool that does not see our kernels finds nothing. Into
the folder go memcheck.json and the tools' own words. Exit codes: 0 nothing was found, or there is no compute-sanitizer
(said in the file), 1 something was found, or a tool did not come to its end, 2 the program does not run without a tool
either.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TOOLS = "memcheck,racecheck,initcheck,synccheck"
PROGRAM = (sys.executable, str(Path(__file__).with_name("every_family.py")))
NAME = "compute-sanitizer"
SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) ")
MISSING = (
    f"there is no {NAME}, neither on PATH nor in nvcc's folder: nothing was checked. It is a part of the CUDA toolkit "
    "(package cuda-sanitizer-api)."
)
# each tensor an allocation of its own: what lies beyond it would otherwise be another part of torch's cached block
ENVIRONMENT = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
FINDINGS_PRINTED = 20


@dataclass(frozen=True)
class Checked:
    """One run. errors: that the tool counted, None where it did not come to its end; why: then in words."""

    tool: str
    planted: bool
    seconds: float
    errors: int | None
    why: str = ""

    @property
    def is_bad(self) -> bool:
        """Was something found, or the planted access not?"""
        return self.errors is None or (self.errors == 0) == self.planted


@dataclass
class Findings:
    """The JSON file."""

    basis: str = "measured"
    sanitizer: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    why: str = ""


def sanitizer() -> str | None:
    """Where it is: on PATH, in nvcc's folder, or in the toolkit that folder belongs to."""
    nvcc = shutil.which("nvcc")
    home = [] if nvcc is None else [Path(nvcc).resolve().parent, Path(nvcc).resolve().parents[1] / NAME]
    return shutil.which(NAME) or next((found for each in home if (found := shutil.which(NAME, path=str(each)))), None)


def check(
    command: Sequence[str], tool: str, *, log: Path, seconds: float, planted: bool, environment: Mapping[str, str]
) -> Checked:
    """Runs the command, which is under the tool, whose words go into the log."""
    started_s = time.monotonic()
    why = ""
    with log.open("w") as out:
        running = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            status: int | None = running.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)  # the tool, and the program that it runs on the GPU
            running.wait()
            status = None
            why = f"{seconds:.0f} s did not suffice"
    said = log.read_text(errors="replace")
    counted = SUMMARY.findall(said)
    errors = int(counted[-1]) if counted and status is not None else None
    if errors is None and not why:
        why = f"it ended with status {status} and no summary: {' '.join(said.split())[-300:]}"
    elif status and not planted and not errors:
        errors, why = None, f"it counted nothing, but the program ended with status {status}"
    return Checked(tool, planted, round(time.monotonic() - started_s, 1), errors, why)


def why_not_alone(program: Sequence[str], environment: Mapping[str, str], seconds: float) -> str:
    """Runs the program without a tool; in words how it failed, or nothing."""
    try:
        done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"{seconds:.0f} s did not suffice"
    return f"status {done.returncode}, {(done.stdout + done.stderr)[-500:]}" if done.returncode else ""


def main(arguments: Sequence[str] | None = None, *, program: Sequence[str] = PROGRAM) -> int:
    """The command. program: what is checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tools", default=TOOLS)
    parser.add_argument("--minutes", type=float, default=2.0, help="in all")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    end_s, found, path = time.monotonic() + 60 * given.minutes, Findings(), sanitizer()

    def save() -> None:
        (given.out / "memcheck.json").write_text(json.dumps(asdict(found), indent=1) + "\n")

    if path is None:
        found.why = MISSING
        save()
        print(MISSING)
        return 0
    found.sanitizer = path
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, **ENVIRONMENT, "GEMM_TUNER_CACHE_DIR": cache}
        why = why_not_alone(program, environment, 60 * given.minutes)
        if why:
            found.why = f"the program does not run by itself: {why}"
            save()
            print(found.why, file=sys.stderr)
            return 2
        tools = given.tools.split(",")
        runs = [(tools[0], True), *((tool, False) for tool in tools)]  # the first one's, as a rule memcheck's
        checked: list[Checked] = []
        for i, (tool, planted) in enumerate(runs):
            seconds = max(1.0, (end_s - time.monotonic()) / (len(runs) - i))
            # without a filter: by name none of our kernels may be found, and nothing would say so
            command = [path, "--tool", tool, "--print-limit", str(FINDINGS_PRINTED), *program, *["--planted"] * planted]
            log = given.out / f"{tool}{'_planted' * planted}.log"
            checked.append(check(command, tool, log=log, seconds=seconds, planted=planted, environment=environment))
            found.runs.append({**asdict(checked[-1]), "is_bad": checked[-1].is_bad})
            save()
    for each in checked:
        what = f"{each.tool}{', with a fault planted' * each.planted}"
        print(f"{what}: {each.why or f'{each.errors} errors'}, {each.seconds} s{' <- not right' * each.is_bad}")
    return 1 if any(each.is_bad for each in checked) else 0


if __name__ == "__main__":
    sys.exit(main())
