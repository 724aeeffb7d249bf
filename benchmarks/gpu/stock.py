"""What stock max-autotune spends on products: Inductor's own, DEFAULT search space, its gate on SMs held open.

    python benchmarks/gpu/stock.py --sms 32 512x2048x2048 ...          (m x n x k; bfloat16, layout nt)

One JSON line for each product, once it is compiled: seconds from the call of torch.compile to the end of the first run,
candidates that were timed, calls of the benchmark and launches in them, and whether Triton or the library was chosen.
Inductor itself has started before. Its caches should be empty (TORCHINDUCTOR_CACHE_DIR, TRITON_CACHE_DIR).
"""

# mypy: disable-error-code="no-untyped-call"
# (torch.cuda)
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this sees its own folder only

from gpu.contestant import gemms
from gpu.partition import partition

DTYPE = torch.bfloat16


@dataclass
class Spent:
    """On one product. candidates: choices that were timed; launches: calls of them in that."""

    candidates: int = 0
    benchmark_calls: int = 0
    launches: int = 0
    seconds: float = 0.0
    chose: str = ""


@contextmanager
def counted(spent: Spent) -> Iterator[None]:
    """Counts what Inductor times within the block."""
    from torch._inductor.runtime.benchmarking import benchmarker
    from torch._inductor.select_algorithm import AlgorithmSelectorCache

    benchmark_choice = AlgorithmSelectorCache.__dict__["benchmark_choice"].__func__
    benchmark_gpu = type(benchmarker).benchmark_gpu

    def choice_counted(cls: Any, *arguments: Any, **options: Any) -> Any:
        spent.candidates += 1
        return benchmark_choice(cls, *arguments, **options)

    def calls_counted(self: Any, function: Callable[[], Any], *arguments: Any, **options: Any) -> Any:
        def launch() -> Any:
            spent.launches += 1
            return function()

        spent.benchmark_calls += 1
        return benchmark_gpu(self, launch, *arguments, **options)

    with (
        mock.patch("torch._inductor.utils.is_big_gpu", return_value=True),
        mock.patch.object(AlgorithmSelectorCache, "benchmark_choice", classmethod(choice_counted)),
        mock.patch.object(type(benchmarker), "benchmark_gpu", calls_counted),
    ):
        yield


def tuned(a: torch.Tensor, b: torch.Tensor) -> Spent:
    """What compiling their product took."""
    from torch._inductor.utils import run_and_get_code

    spent = Spent()
    torch.compiler.reset()
    with counted(spent), torch.no_grad():
        started = time.perf_counter()
        compiled = torch.compile(torch.matmul, dynamic=False, options={"max_autotune_gemm": True})
        _, code = run_and_get_code(compiled, a, b)
        spent.seconds = time.perf_counter() - started
    in_triton, _ = gemms("\n".join(code))
    spent.chose = "triton" if in_triton else "library"
    return spent


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("products", nargs="+", metavar="MxNxK")
    parser.add_argument("--sms", type=int, default=0, help="of a part of the GPU; 0 for the whole")
    given = parser.parse_args(arguments)
    part = partition(given.sms or None)
    with part.entered():
        torch.compile(lambda x: x.sin() + 1)(torch.ones(64, device="cuda"))
    for product in given.products:
        m, n, k = map(int, product.split("x"))
        with part.entered():
            a = torch.randn(m, k, device="cuda", dtype=DTYPE)
            b = torch.randn(n, k, device="cuda", dtype=DTYPE).t()
            print(json.dumps({"m": m, "n": n, "k": k, "sms": part.sms, **asdict(tuned(a, b))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
