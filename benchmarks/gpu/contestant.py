"""One contestant on the GPU: the block compiled in one way, on one part of the GPU, and timed."""

# mypy: disable-error-code="no-untyped-call"
# (torch.cuda)
from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

import gemm_tuner as gt
from gemm_tuner.inductor.session import Report
from gemm_tuner.tuning import present_versions

from .contest import Compiled, Ready, Times
from .llama_block import WORKLOADS, Sizes, block, inputs
from .partition import Partition, PartitionError, partition, reached_sms
from .stopwatch import Stopwatch

DTYPE = torch.bfloat16
TOP_K = 4
WARM_UP_CALLS = 3

Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]


@contextmanager
def compiling_as(variant: str, sms: int) -> Iterator[tuple[Compiler, Report | None]]:
    """How that variant compiles, and gemm_tuner's report where it has a part in it.

    stock_gated, stock_forced: Inductor's own GEMM autotuning behind its gate on SMs, which is held shut, as it is on a
    small GPU, or open. ours_cold, ours_warm differ in the records that they find.
    """
    if variant == "eager":
        yield (lambda function: function), None
    elif variant in ("stock_gated", "stock_forced"):
        is_open = variant == "stock_forced"
        with mock.patch("torch._inductor.utils.is_big_gpu", return_value=is_open):
            yield lambda function: _compiled(function, {"max_autotune_gemm": True}), None
    elif variant in ("ours_cold", "ours_warm"):
        with gt.enabled(policy="measure", top_k=TOP_K, sm_budget=sms) as report:
            yield lambda function: _compiled(function, None), report
    else:
        raise ValueError(f"there is no variant {variant!r}")


def _compiled(function: Callable[..., Any], options: dict[str, Any] | None) -> Callable[..., Any]:
    made: Callable[..., Any] = torch.compile(function, dynamic=False, options=options)
    return made


def gemms(code: str) -> tuple[int, int]:
    """Calls of Triton's GEMM kernels and of the library's in what Inductor generated."""
    return len(re.findall(r"\btriton_tem_\w+\.run\(", code)), len(re.findall(r"\bextern_kernels\.\w*mm\w*\(", code))


class OnGpu:
    """Speaks for one variant, in the process that is its alone."""

    def __init__(self, variant: str, sms: int | None) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False  # of the reference; the block is bfloat16
        self._variant = variant
        self._partition: Partition = partition(sms)
        with self._partition.entered():
            self._sizes = Sizes()
            self._block = block(self._sizes, "cuda", DTYPE)
            self._stopwatch = Stopwatch(self._partition.stream)
            # Inductor's start: its imports, its pool of compiling processes
            torch.compile(lambda x: x.sin() + 1)(torch.ones(64, device="cuda"))
            torch.cuda.synchronize()
        self._run: Callable[[], torch.Tensor] = lambda: torch.empty(0)

    def ready(self) -> Ready:
        with self._partition.entered():
            device, reached = gt.device(), reached_sms()
        if reached != self._partition.sms or device.available_sms != self._partition.sms:
            raise PartitionError(
                f"asked for {self._partition.sms} SMs, kernels ran on {reached}, and {device.available_sms} are said "
                "to be available"
            )
        versions = present_versions(device)
        return Ready(
            sms=self._partition.sms,
            reached_sms=reached,
            device={"name": device.name, "sm_count": device.sm_count, "driver": device.driver_version},
            versions={"torch": versions.torch, "triton": versions.triton, "gemm_tuner": versions.gemm_tuner},
        )

    def compile(self, workload: str) -> Compiled:
        """With the records that are there now: a session reads them once."""
        from torch._inductor.utils import run_and_get_code

        given = inputs(WORKLOADS[workload], self._sizes, "cuda", DTYPE)
        with torch.no_grad(), self._partition.entered(), compiling_as(self._variant, self._partition.sms) as way:
            compiler, report = way
            expected = self._in_float32(given)
            torch.cuda.synchronize()
            started = time.perf_counter()
            call = compiler(self._block)
            result, code = run_and_get_code(call, *given)
            torch.cuda.synchronize()
            seconds = time.perf_counter() - started
            error = ((result.float() - expected).norm() / expected.norm()).item()
        self._run = lambda: call(*given)
        in_triton, in_library = (None, None) if self._variant == "eager" else gemms("\n".join(code))
        decisions = () if report is None else tuple(str(each) for each in report.decisions)
        return Compiled(seconds, error, in_triton, in_library, "" if report is None else str(report), decisions)

    def time(self, calls: int) -> Times:
        taken = Times()
        with torch.no_grad(), self._partition.entered():
            for _ in range(WARM_UP_CALLS):
                self._run()
            for _ in range(calls):
                self._stopwatch.once(self._run, taken)
        return taken

    def _in_float32(self, given: Any) -> torch.Tensor:
        x, past = given
        whole = copy.deepcopy(self._block).float()
        out: torch.Tensor = whole(x.float(), None if past is None else tuple(each.float() for each in past))
        return out
