"""Runs compiled kernels through the native launcher, on operands that torch has. Imports torch."""

from __future__ import annotations

import functools

import torch

from . import _core
from .compile import Compiled, compile_candidates, why_dropped
from .errors import NotBuiltError
from .in_use import Work
from .launches import launches_of
from .settings import settings
from .sources import workspace_bytes


class NativeRunner:
    """The kernels of one `Work`, compiled, loaded on its GPU and bound to operands that lie as it says.

    kernel: them, as they are loaded. scratch_bytes: what memory they need beside the operands, by its name.

    Raises NotBuiltError where they do not compile or do not fit the GPU, TritonMissingError where they must be compiled
    and Triton is not installed, and what the launcher raises.
    """

    def __init__(self, work: Work) -> None:
        problem, config = work.problem, work.config
        compiled = compile_candidates(problem, [config], work.device, workers=1)[config]
        unfit = (
            why_dropped(compiled.resources, problem, work.device) if isinstance(compiled, Compiled) else compiled.reason
        )
        if unfit is not None or not isinstance(compiled, Compiled):
            raise NotBuiltError(f"{config} cannot run {problem} on {work.device.name}: {unfit}")
        launches = [_core.Launch(**vars(each)) for each in launches_of(problem, compiled, work.place)]
        self.kernel = _launcher(work.ordinal).load(launches)
        self.scratch_bytes = {
            "parts": workspace_bytes(problem, config),
            "global_scratch": self.kernel.scratch_bytes,
        }

    def __call__(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, bias: torch.Tensor | None, /) -> None:
        """Enqueues C = activation(A @ B + bias) on torch's current stream of the device."""
        given = {"a": a, "b": b, "c": c} if bias is None else {"a": a, "b": b, "c": c, "bias": bias}
        for name in self.kernel.operands:
            if name not in given:
                # from torch's allocator, which does not give it away before this stream is done with it
                given[name] = torch.empty(self.scratch_bytes[name], dtype=torch.uint8, device=a.device)
        stream = torch.cuda.current_stream(a.device).cuda_stream
        self.kernel(stream, *(given[name].data_ptr() for name in self.kernel.operands))


@functools.cache
def _launcher(ordinal: int) -> _core.Launcher:
    return _core.Launcher(library=settings().libcuda, ordinal=ordinal)
