"""A part of the GPU: a CUDA green context whose kernels reach so many SMs and no more, made through cuda-bindings.

torch has a class of that name, but its face changes between 2.11 and 2.15, and what it sets current does not survive
compiled code, which sets its device, and the primary context with it.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch.cuda)
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import globaltimer, smid


class PartitionError(Exception):
    """No such part of this GPU can be had; the message says why."""


@dataclass(frozen=True)
class Partition:
    """sms: how many it has. stream: what is launched on it stays in the partition, whatever context is current.

    context: the driver's, None for the whole GPU; where it is current, gemm_tuner sees `sms` available.
    """

    sms: int
    stream: torch.cuda.Stream
    context: Any = None

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Stream and context are current for the calling thread. Code that sets its device leaves the context, not the
        stream: to be entered anew for each compile."""
        with torch.cuda.stream(self.stream):
            if self.context is None:
                yield
                return
            from cuda.bindings import driver as cuda

            before = _checked(cuda.cuCtxGetCurrent())
            _checked(cuda.cuCtxSetCurrent(self.context))
            try:
                yield
            finally:
                _checked(cuda.cuCtxSetCurrent(before))


def partition(sms: int | None = None) -> Partition:
    """A part of torch's current GPU with that many SMs, or the whole of it; lives as long as the process.

    Raises PartitionError where the driver (12.4 or newer) cannot split off exactly as many: Hopper's parts are
    multiples of 8 SMs.
    """
    torch.zeros(1, device="cuda")  # the primary context must be there first
    has = torch.cuda.get_device_properties(torch.cuda.current_device()).multi_processor_count
    if sms is None or sms == has:
        return Partition(has, torch.cuda.Stream())
    try:
        from cuda.bindings import driver as cuda
    except ImportError as error:
        raise PartitionError(f"a part of {sms} SMs needs the package cuda-bindings: {error}") from None
    try:
        device = _checked(cuda.cuDeviceGet(torch.cuda.current_device()))
        whole = _checked(cuda.cuDeviceGetDevResource(device, cuda.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM))
        groups, _, _ = _checked(cuda.cuDevSmResourceSplitByCount(1, whole, 0, sms))
        if groups[0].sm.smCount != sms:
            raise PartitionError(f"the driver makes parts of {groups[0].sm.smCount} SMs where {sms} were asked for")
        described = _checked(cuda.cuDevResourceGenerateDesc([groups[0]], 1))
        flags = cuda.CUgreenCtxCreate_flags.CU_GREEN_CTX_DEFAULT_STREAM
        green = _checked(cuda.cuGreenCtxCreate(described, device, int(flags)))
        stream = _checked(cuda.cuGreenCtxStreamCreate(green, int(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING), 0))
        return Partition(sms, torch.cuda.ExternalStream(int(stream)), _checked(cuda.cuCtxFromGreenCtx(green)))
    except (RuntimeError, AttributeError) as error:  # AttributeError: bindings older than green contexts
        raise PartitionError(f"no part of {sms} SMs of {has}: {error}") from None


def _checked(answer: tuple[Any, ...]) -> Any:
    """What a call of cuda-bindings returned beside its status: one value, several, or None. Raises RuntimeError."""
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(f"the driver answers {getattr(status, 'name', status)}")
    return values[0] if len(values) == 1 else tuple(values) or None


_CTAS_PER_SM = 64  # more than can be resident: whoever finishes makes room
_HOLD_NS = 20_000  # a CTA that left at once would be followed by the next on the same SM, and some SMs get none


@triton.jit
def mark_sm(marks, hold_ns):  # type: ignore[no-untyped-def]
    """Counts this CTA in marks[number of its SM], and stays for so long."""
    start = globaltimer()
    tl.atomic_add(marks + smid(), 1)
    while globaltimer() - start < hold_ns:
        pass


def reached_sms() -> int:
    """Distinct SMs that a Triton kernel ran on, launched on torch's current stream: the proof of a partition."""
    has = torch.cuda.get_device_properties(torch.cuda.current_device()).multi_processor_count
    marks = torch.zeros(2 * has, dtype=torch.int32, device="cuda")  # where some are switched off, numbers have gaps
    mark_sm[(_CTAS_PER_SM * has,)](marks, _HOLD_NS, num_warps=1)
    return int((marks > 0).sum().item())
