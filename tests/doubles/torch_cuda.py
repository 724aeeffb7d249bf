"""A double of torch.cuda's streams, events and graphs, for rehearsing on a CPU what waits and measures on a GPU.

Everything runs at once, in the calling thread's order: a stream keeps nothing, an event is the host's clock, and a
graph that is replayed computes nothing, which whoever looks at its result must notice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

L2_BYTES = 1 << 20


class Stream:
    """Nothing waits on it."""

    cuda_stream = 0

    def __init__(self, *_: object) -> None:
        pass

    def wait_stream(self, _: Stream) -> None:
        pass

    def synchronize(self) -> None:
        pass


class Event:
    """The host's clock, in milliseconds; `query` says that the GPU is still busy, as it is while launches queue up."""

    def __init__(self, **_: object) -> None:
        self._at_ms = 0.0

    def record(self, *_: object) -> None:
        self._at_ms = 1e3 * time.perf_counter()

    def query(self) -> bool:
        return False

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        return end._at_ms - self._at_ms


class CudaGraph:
    """What is captured runs at once, and never again."""

    def replay(self) -> None:
        pass


@contextmanager
def torch_cuda() -> Iterator[None]:
    """Within the block torch.cuda is the double, tensors stay on the CPU."""
    properties = SimpleNamespace(L2_cache_size=L2_BYTES, multi_processor_count=28)
    doubles: dict[str, Any] = {
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": CudaGraph,
        "stream": lambda _: nullcontext(),
        "graph": lambda _: nullcontext(),
        "current_stream": lambda _=None: Stream(),
        "current_device": lambda: 0,
        "get_device_properties": lambda _: properties,
        "synchronize": lambda *_: None,
        "_sleep": lambda _: None,
    }
    with mock.patch.multiple(torch.cuda, create=True, **doubles):
        yield
