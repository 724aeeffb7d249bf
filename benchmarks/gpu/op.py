"""What products of real models take by `gt.matmul`, torch's eager product and torch.compile, at several SM counts.

    python benchmarks/gpu/op.py --out results [--sms 32,16,64,24,48,0] [--products N] [--minutes 8] [--predicted]

On the whole GPU (0) and on parts of it, which are CUDA green contexts. Each part has an equal share of the time. In the
first of it the products (model_products.py) are tuned for so many SMs, the heaviest first; --predicted has the model
choose instead, which takes no GPU. Then four ways of computing each product are timed in interleaved rounds, the L2
flushed, those that were tuned before those that the time left out (for these gt.matmul runs the library):

    torch            functional.linear and the activation, eager
    matmul           gt.matmul, by the records that tuning has made
    compile          torch.compile of the first, as it comes
    compile, tuned   the same with gemm_tuner.enable(policy="measure")

op.json and op_records.jsonl go into the folder and grow with each product; a second run with the same folder goes on
with the records. What there was no time for, and what failed, is in the file. Exit codes: 0 done, 1 something failed
or nothing was timed, 2 no GPU, or the arguments make no sense.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch.cuda)
from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this sees its own folder only

import gemm_tuner as gt
from gemm_tuner.arguments import ACTIVATIONS
from gemm_tuner.errors import GemmTunerError
from gemm_tuner.in_use import in_use
from gemm_tuner.problems import CountedProblem
from gemm_tuner.tuning import present_versions
from gpu.contest import Times, summary
from gpu.measuring import gpu_state
from gpu.model_products import Product, by_importance
from gpu.op_table import table
from gpu.partition import Partition, PartitionError, partition
from gpu.stopwatch import Stopwatch
from gpu.tuning import empty_caches

SMS = "32,16,64,24,48,0"  # the most telling first
MINUTES = 8.0
TUNING_SHARE = 0.4  # of a part's time
WAYS = ("torch", "matmul", "compile", "compile, tuned")
RECORDS = "op_records.jsonl"
TOP_K = 4  # of what torch.compile is to try
ROUNDS, CALLS, WARM_UP_CALLS = 6, 5, 3
LARGEST_ERROR = 0.02  # of the norm; bfloat16 rounds to 0.002
FIRST_S, MARGIN = 15.0, 1.2  # a product is expected to take as long as the longest so far, and a little more

Call = Callable[[], torch.Tensor]


@dataclass
class Findings:
    """The JSON file. cells: one for each product on each part; failures and left_out say why."""

    date: str
    device: str
    versions: dict[str, str]
    basis: str = "measured"
    units: str = (
        "gpu_us, wall_us: microseconds a call; spread: distance between quartiles / median; error: norm of the "
        "difference from float32, relative; compile_s: from the call to the end of the first run"
    )
    cells: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    gpu_state: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Replaces the file in one step."""
        new = folder / "op.json.new"
        new.write_text(json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")
        new.replace(folder / "op.json")

    def fail(self, what: str, sms: int, error: object) -> None:
        """Notes what did not work; the others go on."""
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        self.failures.append({"what": what, "sms": sms, "why": why})
        print(f"{what}, {sms or 'all'} SMs: {why}", file=sys.stderr)


@dataclass(frozen=True)
class Operands:
    """Of one product: x [m, k], weight [n, k], bias [n]."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None

    @staticmethod
    def of(product: Product, device: str) -> Operands:
        draw, dtype = torch.Generator(device).manual_seed(product.m + product.n), getattr(torch, product.dtype)

        def random(*shape: int) -> torch.Tensor:
            return torch.rand(shape, generator=draw, device=device, dtype=dtype) * 2 - 1

        bias = random(product.n) if product.has_bias else None
        return Operands(random(product.m, product.k), random(product.n, product.k), bias)


def eager(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, activation: str) -> torch.Tensor:
    """As a model without this package writes it."""
    return ACTIVATIONS[activation](torch.nn.functional.linear(x, weight, bias))


def compiled() -> Callable[..., torch.Tensor]:
    """`eager`, compiled. Each is a function of its own: what is compiled is kept, and counted, by the code object."""
    own = types.FunctionType(eager.__code__.replace(), eager.__globals__, "eager")
    made: Callable[..., torch.Tensor] = torch.compile(own, dynamic=False)
    return made


@contextmanager
def way(name: str, product: Product, given: Operands, sms: int) -> Iterator[Call]:
    """The call of that way; within the block it is called for the first time."""
    operands = given.x, given.weight, given.bias
    if name == "torch":
        yield lambda: eager(*operands, product.activation)
    elif name == "matmul":
        yield lambda: gt.matmul(given.x, given.weight.t(), given.bias, product.activation)
    elif name == "compile":
        call = compiled()
        yield lambda: call(*operands, product.activation)
    else:
        call = compiled()
        with gt.enabled(policy="measure", top_k=TOP_K, sm_budget=sms):
            yield lambda: call(*operands, product.activation)


class Part:
    """One part of the GPU: its products are tuned, then timed."""

    def __init__(self, bench: Bench, found: Findings, sms: int) -> None:
        self._bench, self._found, self._sms = bench, found, sms
        self._partition: Partition = partition(sms or None)
        with self._partition.entered():
            self._stopwatch = Stopwatch(self._partition.stream, bench.device)

    def tune(self, seconds: float) -> set[gt.GemmProblem]:
        """The problems that have a record for so many SMs, made now or before."""
        bench, sms = self._bench, self._partition.sms
        result = gt.tune(
            [CountedProblem(each.problem, each.uses) for each in bench.products],
            bench.here.with_available_sms(sms),
            measured=not bench.predicted,
            kernel="gemm_tuner",
            budget_s=seconds,
            records=bench.out / RECORDS,
        )
        return {each.winner.problem for each in result.outcomes}

    def measure(self, product: Product) -> None:
        """One cell: every way that works, in rounds, the order turned by one each time."""
        given = Operands.of(product, self._bench.device)
        want = eager(given.x.float(), given.weight.float(), _float(given.bias), product.activation)
        torch.cuda.synchronize()
        calls: dict[str, Call] = {}
        ways: dict[str, dict[str, Any]] = {}
        for name in WAYS:
            try:
                calls[name], ways[name] = self._first(name, product, given, want)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this way's result
                self._found.fail(f"{name} of {product}", self._sms, error)
        times = {name: Times() for name in calls}
        for turn in range(ROUNDS):
            order = list(calls)
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                with self._partition.entered():
                    for _ in range(WARM_UP_CALLS):
                        calls[name]()
                    for _ in range(CALLS):
                        self._stopwatch.once(calls[name], times[name])
        for name, taken in times.items():
            ahead = taken.launched_ahead / len(taken.gpu_us)
            ways[name] |= {"gpu_us": summary(taken.gpu_us), "wall_us": summary(taken.wall_us), "launched_ahead": ahead}
        chosen = in_use().choices.get(product.problem)
        self._found.cells.append(
            {
                "sms": self._sms,
                **asdict(product),
                "problem": str(product.problem),
                "config": None if chosen is None or chosen.config is None else chosen.config.to_dict(),
                "why": "the op never met it" if chosen is None else chosen.why,
                "ways": ways,
            }
        )
        self._found.gpu_state.append({"sms": self._sms, "product": str(product), **gpu_state()})

    def _first(self, name: str, product: Product, given: Operands, want: torch.Tensor) -> tuple[Call, dict[str, Any]]:
        with torch.no_grad(), self._partition.entered(), way(name, product, given, self._partition.sms) as call:
            started_s = time.perf_counter()
            out = call()
            self._partition.stream.synchronize()
            seconds = time.perf_counter() - started_s
            error = ((out.float() - want).norm() / want.norm()).item()
        if not error < LARGEST_ERROR:
            raise ArithmeticError(f"its result differs from float32's by {error:.3g} of the norm")
        return call, {"compile_s": round(seconds, 3), "error": error}


def _float(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.float()


@dataclass(frozen=True)
class Bench:
    """One run over all parts, within so many seconds. device: torch's word for where it runs."""

    here: gt.DeviceSpec
    products: Sequence[Product]
    sms: Sequence[int]
    out: Path
    seconds: float
    predicted: bool = False
    device: str = "cuda"

    def run(self) -> Findings:
        """What the time suffices for; the file is whole after each product."""
        versions = {name: str(each) for name, each in asdict(present_versions(self.here)).items()}
        found = Findings(_now(), self.here.name, versions)
        end_s = time.monotonic() + self.seconds
        with empty_caches(), torch.no_grad():
            torch.compile(lambda x: x.sin() + 1)(torch.ones(64, device=self.device))  # Inductor's start is nobody's
            for i, sms in enumerate(self.sms):
                left_s = end_s - time.monotonic()
                try:
                    self._part(found, sms, time.monotonic() + left_s / (len(self.sms) - i))
                except (GemmTunerError, PartitionError) as error:
                    found.fail("the whole part", sms, error)
                found.save(self.out)
        return found

    def _part(self, found: Findings, sms: int, end_s: float) -> None:
        part = Part(self, found, sms)
        tuned = part.tune(TUNING_SHARE * max(0.0, end_s - time.monotonic()))
        longest_s = 0.0
        with gt.use_records(self.out / RECORDS if (self.out / RECORDS).exists() else None):
            for product in sorted(self.products, key=lambda each: each.problem not in tuned):  # else as they stand
                started_s = time.monotonic()
                if started_s + (MARGIN * longest_s or FIRST_S) > end_s:
                    found.left_out.append({"sms": sms, "product": str(product), "why": "the time did not suffice"})
                    continue
                try:
                    part.measure(product)
                except Exception as error:  # noqa: BLE001 - such as a weight that the GPU has no memory for
                    found.fail(str(product), sms, error)
                longest_s = max(longest_s, time.monotonic() - started_s)
                found.save(self.out)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--sms", default=SMS)
    parser.add_argument("--products", type=int, help="the first so many, in their order of importance")
    parser.add_argument("--predicted", action="store_true", help="the model chooses; nothing is tuned")
    given = parser.parse_args(arguments)
    try:
        sms = [int(each) for each in given.sms.split(",")]
        bench = Bench(
            gt.device(),
            by_importance()[: given.products],
            sms,
            given.out,
            60 * given.minutes,
            predicted=given.predicted,
        )
        given.out.mkdir(parents=True, exist_ok=True)
    except (GemmTunerError, ValueError, OSError) as error:
        print(f"op.py: {error}", file=sys.stderr)
        return 2
    found = bench.run()
    print(table(asdict(found)))
    return 1 if found.failures or not found.cells else 0


if __name__ == "__main__":
    sys.exit(main())
