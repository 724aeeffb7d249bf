"""A double of a GPU for Inductor: torch believes in a CUDA device of the given kind, and lowers graphs for it.

Nothing can run on it. Enough of the device is there to choose templates and to generate their Triton source on a
machine without a GPU and with the CPU build of torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch


class _Driver:
    """What Inductor asks of Triton's active driver before anything is launched."""

    def __init__(self, compute_capability: int) -> None:
        self._compute_capability = compute_capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self._compute_capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cuda", 0)


@contextmanager
def virtual_gpu(compute_capability: int = 86, *, sm_count: int = 28, name: str = "virtual GPU") -> Iterator[None]:
    """Within the block torch.cuda reports one device of that compute capability (86 for 8.6) and SM count."""
    import triton
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor.runtime import triton_helpers

    major, minor = divmod(compute_capability, 10)
    properties = SimpleNamespace(
        name=name,
        major=major,
        minor=minor,
        multi_processor_count=sm_count,
        total_memory=12 << 30,
        warp_size=32,
        regs_per_multiprocessor=65536,
        max_threads_per_multi_processor=1536,
        max_threads_per_block=1024,
        shared_memory_per_block=49152,
        shared_memory_per_block_optin=101376,
        shared_memory_per_multiprocessor=102400,
        L2_cache_size=3 << 20,
        gcnArchName="",
        uuid="00000000-0000-0000-0000-000000000000",
    )
    answers: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_properties": properties,
        "_get_device_properties": properties,
        "get_device_capability": (major, minor),
        "_is_compiled": True,
        "_lazy_init": None,
        "_exchange_device": 0,
        "_maybe_exchange_device": 0,
        "synchronize": None,
    }
    interface = ("current_device", "device_count", "get_device_properties", "synchronize")
    workers = ("current_device", "get_device_properties")
    with ExitStack() as stack:
        patch = stack.enter_context
        for attribute, answer in answers.items():
            patch(mock.patch.object(torch.cuda, attribute, lambda *_, answer=answer, **__: answer, create=True))
        for owner, attributes in ((CudaInterface, interface), (CudaInterface.Worker, workers)):
            for attribute in attributes:
                answer = answers[attribute]
                replacement = staticmethod(lambda *_, answer=answer, **__: answer)
                patch(mock.patch.object(owner, attribute, replacement))
        patch(mock.patch.object(triton_helpers, "set_driver_to_gpu"))
        # set_active would first look for a real driver, to return to it
        patch(mock.patch.object(triton.runtime.driver, "_active", _Driver(compute_capability)))
        _forget_devices()
        stack.callback(_forget_devices)
        yield


def _forget_devices() -> None:
    """Inductor remembers the device that it first saw; a test may want another one."""
    from torch._inductor import utils
    from torch._inductor.runtime.hints import DeviceProperties
    from torch.utils._triton import has_triton

    of_a_device = (DeviceProperties.create, utils.get_num_sms, utils.is_big_gpu, utils.get_max_num_sms)
    for remembering in (*of_a_device, has_triton):
        if hasattr(remembering, "cache_clear"):
            remembering.cache_clear()
