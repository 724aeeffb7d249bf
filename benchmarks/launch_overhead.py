"""What a call of an operator costs the host, the driver's part aside, in microseconds.

    python benchmarks/launch_overhead.py [--json] [--check]

All on one thread and CPU tensors of a few elements, so that torch.mm is little but overhead. Ours call a stand-in
libcuda that takes launches and forgets them (a double, built by this command); so does Triton's launcher, with one of
its own. The numbers are the least of many short rounds, in which the ways take turns: a longer one would
have the scheduler in it. --check exits 1 where a native operator takes longer than it may: 5 us, and 1.5 times what
torch takes for the same; or where gt.matmul takes longer than 5 us.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries of operators only in part)
from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the doubles live there

import torch

import gemm_tuner as gt
from bare_driver import bare_stand_in, triton_driver
from doubles.hot_op import hot_on_cpu
from doubles.op_records import DEVICE, winner
from doubles.stand_in import fake_image
from gemm_tuner._core import Launch, Launcher, LoadedKernel, NativeOp
from gemm_tuner.in_use import RecordsInUse, put_in_use

LIMIT_US = 5.0
LIMIT = 1.5
NAMESPACE = "gemm_tuner_benchmark"
OURS, OURS_FUSED = "gt.matmul", "gt.matmul with bias and activation"
M, N, K = 4, 6, 8
LIBTORCH = str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")

Way = Callable[[], object]


class Row(NamedTuple):
    """within: how long it may take, where it is ours and limited."""

    name: str
    call_us: float
    within_us: float | None


def load(library: str, operands: list[str]) -> LoadedKernel:
    """A kernel of these operands and three sizes, as `tiled` has them."""
    sizes = [("i32", M), ("i32", N), ("i32", K)]
    image = fake_image(f"tiled({'p' * len(operands)}iiipp)")
    launch = Launch(cubin=image, entry="tiled", grid=(1, 1, 1), arguments=[*operands, *sizes, None, None])
    return Launcher(library=library).load([launch])


class Operators:
    """The operators that are compared, defined in a namespace of their own for as long as this is there."""

    def __init__(self, driver: str) -> None:
        self.a, self.b, self.bias = torch.zeros(M, K), torch.zeros(K, N), torch.zeros(N)
        torch_library: Any = torch.library
        self._library = torch_library.Library(NAMESPACE, "DEF")
        self._plain, self._fused = load(driver, ["a", "b", "c"]), load(driver, ["a", "b", "bias", "c"])
        self._natives: list[NativeOp] = []

    def close(self) -> None:
        self._natives.clear()
        self._library._destroy()

    def native(self, name: str, schema: str, letters: str, *arguments: Any, fused: bool = False) -> Way:
        """An operator that launches, of a call that it has learnt."""
        op, native = self._define(name, schema, letters, *arguments)
        key = native.missed()
        assert key is not None
        places: dict[str, Any] = {"a": 0, "b": 1, "bias": 2, "c": ((M, N), "float32")}
        native.launch(key, self._fused if fused else self._plain, operands=places, result="c")
        return lambda: op(*arguments)

    def handed_on(self) -> Way:
        op, native = self._define("hand_on", "Tensor a, Tensor b", "TT", self.a, self.b)
        native.hand_on(native.missed() or [], "aten::mm", [0, 1])
        return lambda: op(self.a, self.b)

    def in_python(self) -> Way:
        """An operator that a Python function implements, which launches by addresses."""
        kernel = self._plain

        def launch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            c = torch.empty((M, N), dtype=a.dtype, device=a.device)
            kernel(0, a.data_ptr(), b.data_ptr(), c.data_ptr())
            return c

        self._library.define("python(Tensor a, Tensor b) -> Tensor")
        self._library.impl("python", launch, "CPU")
        op = getattr(torch.ops, NAMESPACE).python.default
        return lambda: op(self.a, self.b)

    def custom(self) -> Way:
        def launch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.empty((M, N), dtype=a.dtype, device=a.device)

        op = torch.library.custom_op(f"{NAMESPACE}::custom", launch, mutates_args=())
        return lambda: op(self.a, self.b)

    def _define(self, name: str, schema: str, letters: str, *arguments: Any) -> tuple[Any, NativeOp]:
        self._library.define(f"{name}({schema}) -> Tensor?")
        self._library.impl(name, torch.library.fallthrough_kernel, "Autograd")
        native = NativeOp(namespace=NAMESPACE, name=name, key="CPU", arguments=letters, libtorch_cpu=LIBTORCH)
        self._natives.append(native)
        op = getattr(getattr(torch.ops, NAMESPACE), name).default
        op(*arguments)
        return op, native


@contextmanager
def op_ways(driver: str, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor) -> Iterator[dict[str, Way]]:
    """gt.matmul by records whose kernels are compiled, and launched by the double."""
    plain = gt.GemmProblem(m=M, n=N, k=K, dtype="float32", layout="nn")
    config = gt.GemmConfig(block_m=16, block_n=16, block_k=16, num_warps=4, num_stages=2)
    records = [winner(each, config) for each in (plain, plain.replace(op="addmm", epilogue="relu"))]
    with mock.patch.dict(os.environ, GEMM_TUNER_LIBCUDA=driver), hot_on_cpu():
        used = RecordsInUse(records, device_of=lambda ordinal: DEVICE)
        put_in_use(used)
        with used:
            ways: dict[str, Way] = {
                OURS: lambda: gt.matmul(a, b),
                OURS_FUSED: lambda: gt.matmul(a, b, bias, "relu"),
            }
            for call in ways.values():
                call()
            assert {each.config for each in used.choices.values()} == {config}, used.choices
            yield ways


def triton_way(folder: Path) -> Way:
    """A launch by Triton's JIT, of a kernel with as many parameters."""
    import triton

    import bare_kernel

    triton.runtime.driver.set_active(triton_driver(folder))
    a, b, c = torch.zeros(M, K), torch.zeros(K, N), torch.zeros(M, N)
    launch = bare_kernel.tiled[(1,)]
    return lambda: launch(a, b, c, M, N, K, BLOCK=16)


def measure(*, calls: int = 400, rounds: int = 120, triton: bool = False) -> list[Row]:
    """Microseconds of a call, one row a way. triton: Triton's launcher too, which wants a process of its own."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        driver = bare_stand_in(folder)
        operators = Operators(driver)
        stack.callback(operators.close)
        a, b, bias = operators.a, operators.b, operators.bias
        fused = "Tensor a, Tensor b, Tensor? bias, str activation"
        ways: dict[str, Way] = {
            "torch.mm": lambda: torch.mm(a, b),
            "native operator": operators.native("product", "Tensor a, Tensor b", "TT", a, b),
            "native operator, handed on to aten::mm": operators.handed_on(),
            "torch.addmm and torch.relu": lambda: torch.relu(torch.addmm(bias, a, b)),
            "native operator with bias and activation": operators.native(
                "fused", fused, "TTts", a, b, bias, "relu", fused=True
            ),
            "torch.library operator in Python, launching": operators.in_python(),
            "torch.library.custom_op, launching nothing": operators.custom(),
        }
        ways |= stack.enter_context(op_ways(driver, a, b, bias))
        if triton:
            (folder / "triton").mkdir()
            ways["Triton's JIT and launcher"] = triton_way(folder / "triton")
        least_us = dict.fromkeys(ways, float("inf"))
        for _ in range(rounds):
            for way, call in ways.items():
                least_us[way] = min(least_us[way], timeit.timeit(call, number=calls) / calls * 1e6)
    like = {
        "native operator": "torch.mm",
        "native operator with bias and activation": "torch.addmm and torch.relu",
    }
    limits = {way: min(LIMIT_US, LIMIT * least_us[other]) for way, other in like.items()}
    limits |= {OURS: LIMIT_US, OURS_FUSED: LIMIT_US}
    return [Row(way, us, limits.get(way)) for way, us in least_us.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(triton=True)
    if given.json:
        facts = {"driver": "stand-in, a double", "torch": torch.__version__, "cores": os.cpu_count()}
        print(json.dumps({**facts, "rows": [row._asdict() for row in rows]}, indent=1))
    else:
        print(f"microseconds a call, the driver's part aside (stand-in libcuda, a double; torch {torch.__version__})")
        for row in rows:
            limit = "" if row.within_us is None else f", may be {row.within_us:.2f}"
            print(f"{row.name}: {row.call_us:.2f}{limit}")
    slow = [row.name for row in rows if row.within_us is not None and row.call_us > row.within_us]
    if given.check and slow:
        print(f"slower than it may be: {', '.join(slow)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
