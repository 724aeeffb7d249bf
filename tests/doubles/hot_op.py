"""The ops' hot path on CPU tensors and a stand-in libcuda: a double of a GPU that takes launches and computes nothing.

Dispatch, keys, choice by records, compiled kernels and the operators in C++ are the op's own. What it gives back is
memory that nobody wrote.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries only in part)
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

from doubles.ops_on_cpu import ops_on_cpu
from gemm_tuner import ops, quantized_ops, running
from gemm_tuner.hot_path import HotPath


@contextmanager
def hot_on_cpu() -> Iterator[HotPath]:
    """Inside the block the ops treat CPU tensors as they treat CUDA's, the operators in C++ included."""
    hot = HotPath("CPU")
    null_stream = SimpleNamespace(cuda_stream=0)
    running._launcher.cache_clear()
    with (  # a Mock would take microseconds, which benchmarks would measure
        ops_on_cpu(),
        mock.patch.object(ops, "hot_path", lambda: hot),  # noqa: PT008
        mock.patch.object(quantized_ops, "hot_path", lambda: hot),  # noqa: PT008
        mock.patch("torch.cuda.current_stream", return_value=null_stream),
    ):
        try:
            yield hot
        finally:
            for each in (hot.plain, hot.fused, hot.scaled):
                each.clear()
            running._launcher.cache_clear()
