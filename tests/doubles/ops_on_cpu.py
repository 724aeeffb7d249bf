"""What torch calls of the ops for CUDA tensors, called for CPU tensors: a part of two doubles."""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries only in part)
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gemm_tuner import ops, quantized_ops


@contextmanager
def ops_on_cpu() -> Iterator[None]:
    """Inside the block a CPU tensor is to the ops what a CUDA tensor is."""
    torch_library: Any = torch.library
    library = torch_library.Library("gemm_tuner", "IMPL")
    library.impl("matmul", ops._tuned, "CPU")
    library.impl("matmul", ops._autocast, "AutocastCPU")
    library.impl("int_mm", quantized_ops._int_mm_tuned, "CPU")
    library.impl("scaled_mm", quantized_ops._scaled_mm_tuned, "CPU")
    try:
        yield
    finally:
        library._destroy()
