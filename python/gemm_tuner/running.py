"""Runs compiled kernels, and the library's algorithms, on operands that torch has. Imports torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from . import _core
from .compile import Compiled, compile_candidates, why_dropped
from .cublaslt import planned_sms, product_on
from .errors import NotBuiltError
from .in_use import Work
from .launches import launches_of
from .settings import settings
from .sources import workspace_bytes


class ReadyRunner:
    """Work that a GPU is ready for, on operands that torch has.

    kernel: that work. scratch_bytes: what memory it needs beside the operands, by its name.
    """

    def __init__(self, kernel: _core.LoadedKernel | _core.LibraryKernel, scratch_bytes: Mapping[str, int]) -> None:
        self.kernel = kernel
        self.scratch_bytes = scratch_bytes

    def __call__(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, bias: torch.Tensor | None, /) -> None:
        """Enqueues C = activation(A @ B + bias) on torch's current stream of the device."""
        given = {"a": a, "b": b, "c": c} if bias is None else {"a": a, "b": b, "c": c, "bias": bias}
        for name in self.kernel.operands:
            if name not in given:
                # from torch's allocator, which does not give it away before this stream is done with it
                given[name] = torch.empty(self.scratch_bytes[name], dtype=torch.uint8, device=a.device)
        stream = torch.cuda.current_stream(a.device).cuda_stream
        self.kernel(stream, *(given[name].data_ptr() for name in self.kernel.operands))


class NativeRunner(ReadyRunner):
    """The kernels of one `Work`, compiled, loaded on its GPU and bound to operands that lie as it says.

    Raises NotBuiltError where they do not compile or do not fit the GPU, TritonMissingError where they must be compiled
    and Triton is not installed, and what the launcher raises.
    """

    def __init__(self, work: Work) -> None:
        problem, config = work.problem, work.config
        assert isinstance(config, _core.GemmConfig)
        compiled = compile_candidates(problem, [config], work.device, workers=1)[config]
        unfit = (
            why_dropped(compiled.resources, problem, work.device) if isinstance(compiled, Compiled) else compiled.reason
        )
        if unfit is not None or not isinstance(compiled, Compiled):
            raise NotBuiltError(f"{config} cannot run {problem} on {work.device.name}: {unfit}")
        launches = [_core.Launch(**vars(each)) for each in launches_of(problem, compiled, work.place)]
        kernel = _launcher(work.ordinal).load(launches)
        parts_bytes = workspace_bytes(problem, config)
        super().__init__(kernel, {"parts": parts_bytes, "global_scratch": kernel.scratch_bytes})


class LibraryRunner(ReadyRunner):
    """The library's algorithm of one `Work`, bound to operands that lie as it says.

    Raises ValueError where the library does not run it for them, and as `cublaslt.product_on` does.
    """

    def __init__(self, work: Work) -> None:
        assert isinstance(work.config, _core.LibraryAlgorithm)
        product = product_on(work.ordinal, work.problem, work.place, sm_count=planned_sms(work.device))
        kernel = product.load(work.config)
        super().__init__(kernel, {"parts": kernel.workspace_bytes})


@functools.cache
def _launcher(ordinal: int) -> _core.Launcher:
    return _core.Launcher(library=settings().libcuda, ordinal=ordinal)
