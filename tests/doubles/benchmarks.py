"""A double of the clock: what Inductor would time on the GPU is answered and counted, not run.

Everything around the clock is Inductor's own: candidates are compiled and loaded as they would be, and those that do
not fit are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from .graphs import TritonGemm, gemm_of

Timings = Callable[[Any], float]  # an Inductor ChoiceCaller -> milliseconds


class UnexpectedBenchmarkError(Exception):
    """Inductor wanted to time something on a virtual GPU that was given no timings."""


@dataclass
class Benchmarks:
    """What was asked of the clock, and what it answers.

    timings: milliseconds of a GEMM candidate. fused_ms: of a GEMM with what Inductor considers to fuse into it; small,
    so fusing pays, unless told otherwise. padding_pays: does padding an operand win?
    gemms: name of each candidate timed, library kernels too. compiled: each Triton candidate compiled, once.
    refused: name of each Triton candidate that did not compile, or did not fit, and why.
    fusions, paddings: how many kernels were timed to decide them.
    """

    timings: Timings | None = None
    fused_ms: float = 0.001
    padding_pays: bool = False
    gemms: list[str] = field(default_factory=list)
    compiled: list[TritonGemm] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    fusions: int = 0
    paddings: int = 0


EPILOGUE_MS = 0.001  # of what a fusion would save: the kernel that is left over without it
PADDING_MS = 1.0  # of a GEMM, padded or not

_answers: ContextVar[Iterator[float]] = ContextVar("answers")


def replacements(clock: Benchmarks) -> Iterator[tuple[Any, str, Any]]:
    """(owner, attribute, double) of what times on a GPU, and of what it needs a real device for."""
    from torch._inductor.fx_passes import pad_mm
    from torch._inductor.runtime.benchmarking import benchmarker
    from torch._inductor.scheduler import Scheduler
    from torch._inductor.select_algorithm import AlgorithmSelectorCache, TritonTemplateCaller
    from torch._subclasses import FakeTensorMode

    seen: set[str] = set()
    precompile: Callable[[Any], None] = TritonTemplateCaller.precompile

    def precompile_counted(choice: Any) -> None:
        key = choice.kernel_hash_key()
        try:
            precompile(choice)
        except Exception as error:
            clock.refused[choice.name] = str(error)
            raise
        if key not in seen:
            seen.add(key)
            clock.compiled.append(gemm_of(choice.name, Path(choice.bmreq.module_path).read_text()))

    def benchmark_choice(_: Any, choice: Any, __: Any) -> float:
        if isinstance(choice, TritonTemplateCaller):
            precompile_counted(choice)  # not every Python lets Inductor do it earlier, in threads
        clock.gemms.append(choice.name)
        if clock.timings is None:
            raise UnexpectedBenchmarkError(f"Inductor times {choice.name}: say what it takes, with `timings`")
        return clock.timings(choice)

    def benchmark_gpu(_: Any, function: Callable[[], Any], **__: Any) -> float:
        function()  # on fake tensors: launches do nothing
        for milliseconds in _answers.get(iter(())):
            return milliseconds
        raise UnexpectedBenchmarkError(f"Inductor times {function}, which this double does not know")

    def for_a_fusion(method: Callable[..., Any], milliseconds: float) -> Callable[..., Any]:
        def benchmark(scheduler: Any, *arguments: Any) -> Any:
            clock.fusions += 1
            # a kernel that overwrites its input is timed again without the kernel, and the difference taken
            with FakeTensorMode(), _answering(chain([milliseconds], repeat(0.0))):
                return method(scheduler, *arguments)

        return benchmark

    def padding_times() -> Iterator[float]:
        while True:
            clock.paddings += 1
            yield PADDING_MS

    @contextmanager
    def instead_of_real_tensors() -> Iterator[None]:
        with FakeTensorMode(), _answering(padding_times()):
            yield

    yield AlgorithmSelectorCache, "get_inputs", classmethod(lambda *_, **__: None)
    yield AlgorithmSelectorCache, "benchmark_choice", classmethod(benchmark_choice)
    yield TritonTemplateCaller, "precompile", precompile_counted
    yield type(benchmarker), "benchmark_gpu", benchmark_gpu
    yield Scheduler, "benchmark_fused_nodes", for_a_fusion(Scheduler.benchmark_fused_nodes, EPILOGUE_MS)
    yield (
        *(Scheduler, "benchmark_codegened_module"),
        for_a_fusion(Scheduler.benchmark_codegened_module, clock.fused_ms),
    )
    yield pad_mm, "no_dispatch", instead_of_real_tensors
    yield pad_mm, "_skip_do_bench_times", clock.padding_pays


@contextmanager
def _answering(answers: Iterator[float]) -> Iterator[None]:
    token = _answers.set(answers)
    try:
        yield
    finally:
        _answers.reset(token)
