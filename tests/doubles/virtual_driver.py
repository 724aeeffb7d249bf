"""A double of Triton's CUDA driver: it loads real cubins, refuses those that the device cannot run, launches none."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from triton.backends.compiler import GPUTarget

from gemm_tuner import DeviceSpec
from gemm_tuner.compile_job import resources_of

MAX_THREADS_PER_BLOCK = 1024


class VirtualDriver:
    """Stands for `triton.runtime.driver.active`. Triton itself compares what a kernel needs with what this answers."""

    def __init__(self, device: DeviceSpec) -> None:
        self._device = device
        self.utils = SimpleNamespace(
            load_binary=_load_binary,
            get_device_properties=lambda _: {
                "max_shared_mem": device.smem_per_block_optin_bytes,
                "max_num_regs": device.registers_per_sm,
                "multiprocessor_count": device.sm_count,
                "warpSize": 32,
            },
        )

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        """What Triton makes for each kernel, once, to start it: this one starts nothing."""
        return lambda *_, **__: None

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._device.compute_capability, 32)

    def get_device_capability(self, _: Any = None) -> tuple[int, int]:
        return divmod(self._device.compute_capability, 10)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _: Any = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cuda", 0)


def _load_binary(name: str, cubin: bytes, smem_bytes: int, device: int) -> tuple[Any, Any, int, int, int]:
    """(module, function, registers, spilled words, most threads), as the driver reports them."""
    registers, spilled_words = _registers(cubin)
    # no module: a kernel with one would unload it when it is forgotten, by when another driver may be there
    return None, object(), registers, spilled_words, MAX_THREADS_PER_BLOCK


@cache
def _registers(cubin: bytes) -> tuple[int, int]:
    found = resources_of(cubin)
    return found["registers_per_thread"], found["spill_bytes"] // 4
