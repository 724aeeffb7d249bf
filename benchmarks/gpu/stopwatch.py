"""Times single calls on one part of the GPU, by CUDA events and by the host's clock, the L2 flushed before each."""

# mypy: disable-error-code="no-untyped-call"
# (torch.cuda)
from __future__ import annotations

import time
from collections.abc import Callable

import torch

from .contest import Times

AHEAD_CLOCKS = 4_000_000  # about 2 ms, in which a block's launches are queued
FLUSHED_L2S = 2  # bytes written between calls, in L2 sizes


class Stopwatch:
    """To be made, and used, where the part of the GPU is entered: its events belong to the part's context."""

    def __init__(self, stream: torch.cuda.Stream, device: str = "cuda") -> None:
        self._stream = stream
        l2_bytes = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        self._flushed = torch.empty(FLUSHED_L2S * l2_bytes, dtype=torch.int8, device=device)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for event in (self._start, self._end):
            event.record()  # which makes it

    def once(self, run: Callable[[], object], taken: Times) -> None:
        """Adds one call's time on the GPU, its launches queued ahead, and another's from call to completion."""
        self._flushed.zero_()
        torch.cuda._sleep(AHEAD_CLOCKS)
        self._start.record()
        run()
        self._end.record()
        taken.launched_ahead += not self._start.query()
        self._stream.synchronize()
        taken.gpu_us.append(1e3 * self._start.elapsed_time(self._end))
        self._flushed.zero_()
        self._stream.synchronize()
        started = time.perf_counter()
        run()
        self._stream.synchronize()
        taken.wall_us.append(1e6 * (time.perf_counter() - started))
