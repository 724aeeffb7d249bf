"""The measurement, from a plan to a JSON file that grows with each cell: one workload on one part of the GPU."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu.contest import VARIANTS, Compiled, ContestantError, Entrance, Remote, Times, summary

LEARNED = "learned.jsonl"  # where gemm_tuner keeps, in its cache folder, what compiling measured
WORKLOADS = ("prefill_512", "decode_16", "decode_1")
SMS = (0, 32, 16, 64, 24, 48)  # the most telling first, for when the time does not suffice
MINUTES = 4.0
ROUNDS = 6
CALLS = 5  # of each variant in each round
LIMITS_S = {"ready": 120.0, "compile": 150.0, "time": 30.0}  # one that hangs must not cost the others their time
FIRST_CELL_S = 60.0  # what the first cell is expected to take
MARGIN = 1.2  # any other is expected to take the longest so far, times this
SMI_FIELDS = (
    "clocks.sm", "clocks.mem", "clocks.max.sm", "power.draw", "power.limit", "temperature.gpu",
    "clocks_event_reasons.active",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is asked for. sms: 0 is the whole GPU. entrance: what makes a contestant, in its process."""

    entrance: Entrance
    out: Path
    sms: Sequence[int] = SMS
    workloads: Sequence[str] = WORKLOADS
    variants: Sequence[str] = VARIANTS
    minutes: float = MINUTES


@dataclass
class Findings:
    """The JSON file. cells: one for each workload, part and variant; failures and not_measured say why."""

    date: str
    device: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    basis: str = "measured"
    units: str = "gpu_us, wall_us: microseconds a call; spread: distance between quartiles / median"
    cells: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    not_measured: list[dict[str, Any]] = field(default_factory=list)
    gpu_state: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Replaces the file in one step."""
        new = folder / "block_latency.json.new"
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.replace(folder / "block_latency.json")


def measure(plan: Plan) -> Findings:
    """Everything that the minutes suffice for, written to the folder as it is found."""
    found = Findings(date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"))
    deadline = time.monotonic() + 60 * plan.minutes
    longest_s = 0.0
    for sms in plan.sms:
        with ExitStack() as stack:
            team: Team | None = None
            for workload in plan.workloads:
                started = time.monotonic()
                if started + (MARGIN * longest_s or FIRST_CELL_S) > deadline:
                    why = f"{plan.minutes:g} minutes did not suffice"
                    found.not_measured.append({"sms": sms, "workload": workload, "why": why})
                    continue
                team = team or stack.enter_context(Team(plan, sms, found, deadline))
                team.measure(workload)
                longest_s = max(longest_s, time.monotonic() - started)
                found.save(plan.out)
    found.save(plan.out)
    return found


class Team:
    """The variants on one part of the GPU, each in its process; who fails leaves, and is among the failures."""

    def __init__(self, plan: Plan, sms: int, found: Findings, deadline: float) -> None:
        self._plan, self._sms, self._found, self._deadline = plan, sms, found, deadline
        self._members: list[Remote] = []
        self._stack = ExitStack()

    def __enter__(self) -> Team:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        self._stack.callback(_keep_records, folder / "ours" / LEARNED, self._plan.out)
        self._stack.callback(self._dismiss)
        for variant in self._plan.variants:
            environment, log = _environment(folder, variant), folder / f"{variant}.log"
            self._members.append(
                Remote(self._plan.entrance, variant, self._sms or None, environment=environment, log=log)
            )
        for member in list(self._members):
            ready = self._ask(member, "", "ready")
            if ready is not None:
                self._found.device, self._found.versions = dict(ready.device), dict(ready.versions)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, workload: str) -> None:
        """Compiles with each member in turn, then times all in rounds, the order turned by one each time."""
        self._note_state(workload)
        compiled: dict[str, Compiled] = {}
        for member in list(self._members):
            answer = self._ask(member, workload, "compile", workload)
            if answer is not None:
                compiled[member.variant] = answer
        times = {member.variant: Times() for member in self._members}
        for turn in range(ROUNDS):
            first = turn % max(1, len(self._members))
            for member in self._members[first:] + self._members[:first]:
                answer = self._ask(member, workload, "time", CALLS)
                if answer is not None:
                    times[member.variant].add(answer)
        self._note_state(workload)
        for name in (member.variant for member in self._members):
            cell = {"sms": self._sms, "workload": workload, "variant": name, "compile": asdict(compiled[name])}
            taken = times[name]
            ahead = taken.launched_ahead / len(taken.gpu_us)
            self._found.cells.append(
                {**cell, "gpu_us": summary(taken.gpu_us), "wall_us": summary(taken.wall_us), "launched_ahead": ahead}
            )

    def _ask(self, member: Remote, workload: str, request: str, *arguments: Any) -> Any:
        """The answer, or None: then the member has left."""
        limit_s = min(LIMITS_S[request], self._deadline - time.monotonic())
        try:
            return member.ask(request, *arguments, timeout_s=limit_s)
        except ContestantError as error:
            failure = {"sms": self._sms, "workload": workload, "variant": member.variant, "why": f"{request}: {error}"}
            self._found.failures.append(failure)
            print("{variant} on {sms} SMs, {workload}: {why}".format(**failure), file=sys.stderr)
            self._members.remove(member)
            member.stop(0)
            return None

    def _note_state(self, workload: str) -> None:
        self._found.gpu_state.append({"sms": self._sms, "workload": workload, **gpu_state()})

    def _dismiss(self) -> None:
        for member in self._members:
            member.dismiss()
        for member in self._members:
            member.stop()


def _environment(folder: Path, variant: str) -> dict[str, str | None]:
    """Caches of its own for each, but for our two, which share what was learned; none of our other settings."""
    own = folder / f"caches-{variant}"
    unset = ("ENABLE", "RECORDS", "POLICY", "TOP_K", "DEVICE", "SM_BUDGET")
    return {
        **{f"GEMM_TUNER_{name}": None for name in unset},
        "GEMM_TUNER_CACHE_DIR": str(folder / "ours"),
        "TORCHINDUCTOR_CACHE_DIR": str(own / "inductor"),
        "TRITON_CACHE_DIR": str(own / "triton"),
    }


def _keep_records(learned: Path, out: Path) -> None:
    if learned.exists():
        with (out / "block_records.jsonl").open("a") as kept:
            kept.write(learned.read_text())


def gpu_state() -> dict[str, Any]:
    """Clocks, power and temperature, as nvidia-smi prints them; or why it does not."""
    command = ["nvidia-smi", f"--query-gpu={','.join(SMI_FIELDS)}", "--format=csv,noheader"]
    try:
        line = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        return {"nvidia_smi": str(error)}
    return dict(zip(SMI_FIELDS, line.split(", "), strict=False))
