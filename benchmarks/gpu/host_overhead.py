"""What a call costs the host on this GPU, its driver's part and all: microseconds, and calls a second.

    python benchmarks/gpu/host_overhead.py [--out results] [--rounds 40]

One thread calls each way a few hundred times at a stretch and then waits for the GPU, so that the launch queue is never
full; the kernels are so small that the host is what takes time. Ways take turns, and the least of all rounds counts.
benchmarks/launch_overhead.py has the same without a GPU, the driver's part aside. host_overhead.json goes into the
folder. Exit codes: 0 done, 1 gt.matmul did not run the kernel that its record names, 2 no GPU.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch.cuda, and torch's libraries of operators)
from __future__ import annotations

import argparse
import json
import sys
import timeit
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this sees its own folder only
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import gemm_tuner as gt
from gemm_tuner.errors import GemmTunerError
from gemm_tuner.in_use import in_use
from gemm_tuner.tuning import present_versions
from gpu.measuring import gpu_state
from gpu.native import loaded, native_operator
from gpu.op_calls import problem_of
from gpu.op_cases import naming

SIZE = 64  # of the square matrices, in float16
CONFIG = gt.GemmConfig(block_m=64, block_n=64, block_k=32, num_warps=4, num_stages=2)
CALLS = 250  # at a stretch: drivers queue about a thousand launches, and some calls make two
NAMESPACE = "gemm_tuner_host_overhead"

Way = Callable[[], object]


class Row(NamedTuple):
    """The least of the rounds. like: the way of torch's that computes the same."""

    name: str
    call_us: float
    calls_per_second: int
    like: str


@dataclass(frozen=True)
class Small:
    """Operands on a device, and the problems that they are, without bias and with bias and ReLU."""

    a: torch.Tensor
    b: torch.Tensor
    bias: torch.Tensor
    spec: gt.DeviceSpec

    @staticmethod
    def on(device: str, spec: gt.DeviceSpec) -> Small:
        a, b, bias = (torch.rand(shape, device=device).half() for shape in ((SIZE, SIZE), (SIZE, SIZE), (SIZE,)))
        return Small(a, b, bias, spec)

    @property
    def plain(self) -> gt.GemmProblem:
        return problem_of(self.a, self.b)

    @property
    def fused(self) -> gt.GemmProblem:
        return problem_of(self.a, self.b, self.bias, "relu")

    def recorded(self) -> AbstractContextManager[object]:
        """Within it records name the kernel for both."""
        return gt.use_records(naming([self.plain, self.fused], CONFIG, self.spec))


def ways(small: Small, stack: ExitStack, *, triton: bool) -> dict[str, tuple[Way, str]]:
    """Each way, and what of torch's it is to be compared with. What they need stays until the stack is left."""
    a, b, bias = small.a, small.b, small.bias
    op, unrecorded = torch.ops.gemm_tuner.matmul.default, b.t()
    native = stack.enter_context(native_operator(small.plain, CONFIG, a, b, spec=small.spec))
    found: dict[str, tuple[Way, str]] = {
        "torch.mm": (lambda: torch.mm(a, b), ""),
        "torch.addmm and torch.relu": (lambda: torch.relu(torch.addmm(bias, a, b)), ""),
        "gt.matmul": (lambda: gt.matmul(a, b), "torch.mm"),
        "gt.matmul with bias and ReLU": (lambda: gt.matmul(a, b, bias, "relu"), "torch.addmm and torch.relu"),
        "torch.ops.gemm_tuner.matmul": (lambda: op(a, b), "torch.mm"),
        "gt.matmul without a record": (lambda: gt.matmul(a, unrecorded), "torch.mm"),
        "native operator": (lambda: native(a, b), "torch.mm"),
        "operator in Python, launching": (_in_python(small, stack), "torch.mm"),
        "launch by addresses, without torch": (_by_addresses(small), ""),
    }
    if triton:
        found["Triton's JIT and launcher, without allocating"] = _by_triton(small), ""
    return found


def _by_addresses(small: Small) -> Way:
    kernel = loaded(small.plain, CONFIG, small.a, small.b, small.spec).kernel
    c = torch.empty(SIZE, SIZE, dtype=small.a.dtype, device=small.a.device)
    given = {"a": small.a, "b": small.b, "c": c}
    addresses = [given[name].data_ptr() for name in kernel.operands]

    def launch() -> torch.Tensor:
        kernel(0, *addresses)
        return c  # which stays for as long as its address is used

    return launch


def _in_python(small: Small, stack: ExitStack) -> Way:
    kernel = loaded(small.plain, CONFIG, small.a, small.b, small.spec).kernel

    def launch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        c = torch.empty((SIZE, SIZE), dtype=a.dtype, device=a.device)
        given = {"a": a, "b": b, "c": c}
        stream = torch.cuda.current_stream(a.device).cuda_stream
        kernel(stream, *(given[name].data_ptr() for name in kernel.operands))
        return c

    torch_library: Any = torch.library
    library = torch_library.Library(NAMESPACE, "DEF")
    stack.callback(library._destroy)
    library.define("python(Tensor a, Tensor b) -> Tensor")
    library.impl("python", launch, small.a.device.type.upper())
    op = getattr(torch.ops, NAMESPACE).python.default
    return lambda: op(small.a, small.b)


def _by_triton(small: Small) -> Way:
    import bare_kernel

    launch, c = bare_kernel.tiled[(1,)], torch.empty_like(small.a)
    return lambda: launch(small.a, small.b, c, SIZE, SIZE, SIZE, BLOCK=16)


def measure(
    spec: gt.DeviceSpec, *, device: str = "cuda", rounds: int = 40, calls: int = CALLS, triton: bool = True
) -> tuple[list[Row], list[str]]:
    """A row for each way, and a sentence for each problem that gt.matmul did not launch the named kernel for."""
    with torch.no_grad(), ExitStack() as stack:
        small = Small.on(device, spec)
        known = ways(small, stack, triton=triton)
        stack.enter_context(small.recorded())
        chosen = in_use()
        least_us = dict.fromkeys(known, float("inf"))
        for turn in range(rounds + 1):  # the first warms up
            for name, (call, _) in known.items():
                seconds = timeit.timeit(call, number=calls if turn else 3)
                torch.cuda.synchronize()
                least_us[name] = min(least_us[name], seconds / calls * 1e6) if turn else least_us[name]
        otherwise = [
            f"{problem}: {choice.why if choice else 'the op never met it'}"
            for problem, choice in ((each, chosen.choices.get(each)) for each in (small.plain, small.fused))
            if choice is None or choice.config != CONFIG
        ]
    return [Row(name, us, round(1e6 / us), known[name][1]) for name, us in least_us.items()], otherwise


def table(rows: Sequence[Row]) -> str:
    """For a person and for docs."""
    of = {row.name: row.call_us for row in rows}
    lines = ["| call | us | calls a second | over torch's |", "| --- | --- | --- | --- |"]
    for row in rows:
        over = f"{row.call_us / of[row.like]:.2f}" if row.like else ""
        lines.append(f"| {row.name} | {row.call_us:.2f} | {row.calls_per_second} | {over} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args(arguments)
    try:
        spec = gt.device()
    except GemmTunerError as error:
        print(f"host_overhead.py: {error}", file=sys.stderr)
        return 2
    rows, otherwise = measure(spec, rounds=given.rounds)
    print(f"{spec.name}, torch {torch.__version__}, measured, least of {given.rounds} rounds\n{table(rows)}")
    for sentence in otherwise:
        print(f"gt.matmul did not run the kernel of its record for {sentence}", file=sys.stderr)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        facts = {"basis": "measured", "device": spec.name, "versions": asdict(present_versions(spec)), **gpu_state()}
        document = {**facts, "otherwise": otherwise, "rows": [row._asdict() for row in rows]}
        (given.out / "host_overhead.json").write_text(json.dumps(document, indent=1) + "\n")
    return 1 if otherwise else 0


if __name__ == "__main__":
    sys.exit(main())
