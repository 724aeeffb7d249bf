"""Runs algorithms of cuBLASLt's on operands that torch has. Imports torch."""

from __future__ import annotations

import torch

from ._core import LibraryAlgorithm
from .cublaslt import planned_sms, product_on
from .in_use import Work


class LibraryRunner:
    """The algorithm of one `Work`, bound to operands that lie as it says.

    Raises ValueError where the library does not run it for them, and as `cublaslt.product_on` does.
    """

    def __init__(self, work: Work) -> None:
        assert isinstance(work.config, LibraryAlgorithm)
        product = product_on(work.ordinal, work.problem, work.place, sm_count=planned_sms(work.device))
        self._kernel = product.load(work.config)
        self._has_workspace = "parts" in self._kernel.operands

    def __call__(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, bias: torch.Tensor | None, /) -> None:
        """Enqueues C = activation(A @ B + bias) on torch's current stream of the device."""
        operands = [a, b, c] if bias is None else [a, b, c, bias]
        if self._has_workspace:
            # from torch's allocator, which does not give it away before this stream is done with it
            operands.append(torch.empty(self._kernel.workspace_bytes, dtype=torch.uint8, device=a.device))
        stream = torch.cuda.current_stream(a.device).cuda_stream
        self._kernel(stream, *(each.data_ptr() for each in operands))
