"""What the op may be called with. Imports torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch

ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": functools.partial(torch.nn.functional.gelu, approximate="tanh"),
    "silu": torch.nn.functional.silu,
}


def require_product(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str) -> None:
    """Raises RuntimeError or ValueError, in torch's words where torch.mm has them."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"gemm_tuner::matmul: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    if not (a.dim() == b.dim() == 2 or a.dim() == b.dim() == 3):
        raise RuntimeError(f"gemm_tuner::matmul: both operands must have 2 dimensions, or both 3, got {sizes(a, b)}")
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({sizes(a, b)})")
    if a.dim() == 3 and a.shape[0] != b.shape[0]:
        raise RuntimeError(f"gemm_tuner::matmul: both operands must have the same batch, got {sizes(a, b)}")
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != b.shape[-1]):
        raise RuntimeError(
            f"gemm_tuner::matmul: bias must be a row of {b.shape[-1]} elements, got the shape {list(bias.shape)}"
        )


def require_alike(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> None:
    """What ATen would ask of its own, asked before any launch. Raises RuntimeError."""
    for name, other in (("b", b), ("bias", bias)):
        if other is None:
            continue
        if other.device != a.device:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but got {name} is on {other.device}, "
                f"different from other tensors on {a.device} (when checking argument in gemm_tuner::matmul)"
            )
        if other.dtype != a.dtype:
            raise RuntimeError(f"expected a and {name} to have the same dtype, but got: {a.dtype} != {other.dtype}")


def sizes(a: torch.Tensor, b: torch.Tensor) -> str:
    """Both shapes as torch writes them: "2x3 and 4x5"."""
    return " and ".join("x".join(map(str, each.shape)) or "a scalar" for each in (a, b))
