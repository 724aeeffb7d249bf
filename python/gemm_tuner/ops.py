"""The op: torch.ops.gemm_tuner.matmul, registered when this module is imported, and `matmul`, its face. Imports torch.

The op is a composition of ATen's operators, and on a CUDA device in eager mode it is more: there it launches what the
records in use name. torch takes the composition wherever it takes a program apart (torch.compile, export, torch.func,
other devices), which is what Inductor wants to see: products that it may tune and fuse. docs/op.md has the whole of it.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types autograd and its dispatcher only in part)
from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch.autograd import forward_ad

from ._core import GemmProblem
from .in_use import RecordsInUse, Runner, in_use
from .operand import Operand, Stored, product_of
from .placement import placed
from .recorder import dtype_word, precision_of
from .sources import kernel_sources

log = logging.getLogger("gemm_tuner")

ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": functools.partial(torch.nn.functional.gelu, approximate="tanh"),
    "silu": torch.nn.functional.silu,
}
_FROM_OUTPUT = ("none", "relu")  # activations whose gradient the output tells
_TUNED_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_INT32_LIMIT = 2**31
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def matmul(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, activation: str | None = None
) -> torch.Tensor:
    """activation(a @ b + bias), by the kernel that the records in use name for it, else by ATen's.

    a: [..., m, k] or [k]. b: [k, n], or [..., k, n] whose batch dimensions broadcast with a's, as torch.matmul's do.
    bias: [n]. activation: relu, gelu, gelu_tanh, silu or none. The result is [..., m, n] of a's dtype.
    Differentiable, as often as asked. Raises RuntimeError as torch.mm does, ValueError for an unknown activation.
    """
    op, word = torch.ops.gemm_tuner.matmul.default, activation or "none"
    out: torch.Tensor
    if b.dim() < 2 or a.dim() < 1:
        raise RuntimeError(f"gemm_tuner::matmul: a must have 1 dimension or more and b 2 or more, got {_sizes(a, b)}")
    if a.dim() == 1:
        out = matmul(a.unsqueeze(0), b, bias, word).squeeze(-2)
    elif a.dim() == b.dim() == 2:
        out = op(a, b, bias, word)
    elif b.dim() == 2:
        out = op(a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), b, bias, word).view(*a.shape[:-1], b.shape[-1])
    else:
        batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a3, b3 = (each.expand(*batch, *each.shape[-2:]).reshape(math.prod(batch), *each.shape[-2:]) for each in (a, b))
        out = op(a3, b3, bias, word).view(*batch, a.shape[-2], b.shape[-1])
    return out


def _composite(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, activation: str = "none"
) -> torch.Tensor:
    """The op as ATen computes it: of every device, every dtype and every transform."""
    _require_product(a, b, bias, activation)
    if a.device.type not in ("cuda", "meta"):
        _say_untuned(a.device.type)
    return _by_aten(a, b, bias, activation)


def _by_aten(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str) -> torch.Tensor:
    if bias is None:
        out = torch.mm(a, b) if a.dim() == 2 else torch.bmm(a, b)
    else:
        out = torch.addmm(bias, a, b) if a.dim() == 2 else torch.baddbmm(bias, a, b)
    return ACTIVATIONS[activation](out)


def _tuned(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, activation: str = "none"
) -> torch.Tensor:
    """The op on a CUDA device: what the records in use say."""
    _require_product(a, b, bias, activation)
    _require_alike(a, b, bias)
    ready = _ready_for(a, b, bias, activation)
    out = ready(a, b, bias) if ready is not None else None
    return _by_aten(a, b, bias, activation) if out is None else out


def _autocast(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, activation: str = "none"
) -> torch.Tensor:
    """As autocast treats torch.mm: floating operands, float64 aside, are cast to what autocast has for the device."""
    device_type = a.device.type
    dtype = torch.get_autocast_dtype(device_type)

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        eligible = tensor.is_floating_point() and tensor.dtype != torch.float64 and tensor.device.type == device_type
        return tensor.to(dtype) if eligible else tensor

    with torch.autocast(device_type, enabled=False):
        out: torch.Tensor = torch.ops.gemm_tuner.matmul.default(
            cast(a), cast(b), None if bias is None else cast(bias), activation
        )
        return out


class _Product(torch.autograd.Function):
    """The op with an activation whose gradient the output tells. Both gradients are products of the op too."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str) -> torch.Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            out: torch.Tensor = torch.ops.gemm_tuner.matmul.default(a, b, bias, activation)
        ctx.activation = activation
        ctx.save_for_backward(a, b, out if activation == "relu" else None)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        op = torch.ops.gemm_tuner.matmul.default
        a, b, out = ctx.saved_tensors
        if ctx.activation == "relu":
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        wants_a, wants_b, wants_bias, _ = ctx.needs_input_grad
        return (
            op(grad, b.mT) if wants_a else None,
            op(a.mT, grad) if wants_b else None,
            grad.sum(tuple(range(grad.dim() - 1))) if wants_bias else None,
            None,
        )


def _differentiable(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, activation: str = "none"
) -> torch.Tensor:
    """The op on a CUDA device, where autograd may be watching."""
    op = torch.ops.gemm_tuner.matmul.default
    if _is_taken_apart(a, b, bias):
        return _composite(a, b, bias, activation)
    if not (torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (a, b, bias))):
        with torch._C._AutoDispatchBelowAutograd():
            below: torch.Tensor = op(a, b, bias, activation)
            return below
    if activation in _FROM_OUTPUT:
        product: torch.Tensor = _Product.apply(a, b, bias, activation)
        return product
    _require_product(a, b, bias, activation)
    # what the activation was given is kept for its gradient: fused, a product more would have to compute it again
    return ACTIVATIONS[activation](op(a, b, bias, "none"))


def _is_taken_apart(*tensors: torch.Tensor | None) -> bool:
    """Does anybody want to see what the op is made of? A compiler or another dispatch mode, a transform of torch.func,
    forward-mode differentiation, or a tensor that only looks like one. ATen's operators are what they all know."""
    return (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or any(
            type(each) not in _PLAIN and torch._C._dispatch_keys(each).has(torch._C.DispatchKey.Python)
            for each in tensors
            if each is not None
        )
    )


class _Ready(NamedTuple):
    """A runner with what one kind of call needs around it. divisors: bytes that must divide the operands' addresses."""

    runner: Runner
    sizes: tuple[int, ...]
    copies: tuple[bool, bool]
    divisors: tuple[int, int, int]

    def __call__(self, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor | None:
        """The result; None where the memory of an operand is aligned less than torch's own is."""
        a = a.contiguous() if self.copies[0] else a
        b = b.contiguous() if self.copies[1] else b
        if a.data_ptr() % self.divisors[0] or b.data_ptr() % self.divisors[1]:
            return None
        if bias is not None:
            bias = bias.contiguous()
            bias = bias.clone() if bias.data_ptr() % self.divisors[2] else bias
        c = torch.empty(self.sizes, dtype=a.dtype, device=a.device)
        self.runner(a, b, c, bias)
        return c


def _ready_for(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str) -> _Ready | None:
    if a.dtype not in _TUNED_DTYPES:
        return None
    precision = precision_of(a.dtype)
    places = ((each.shape, each.stride(), each.storage_offset() % 16) for each in (a, b))
    key = (a.device.index, a.dtype, precision, *places, bias is None, activation)
    current = in_use()
    known: _Ready | None
    try:
        known = current.calls[key]
    except KeyError:
        if a.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return None  # modules are not to be loaded now; a warm-up before the capture has them loaded
        known = current.prepared(key, lambda: _prepare(current, a, b, bias, activation))
    return known


def _prepare(
    current: RecordsInUse, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str
) -> _Ready | None:
    word = ("mm" if bias is None else "addmm") if a.dim() == 2 else ("bmm" if bias is None else "baddbmm")
    dtype = dtype_word(a.dtype)
    one, other = (Operand(each.shape, each.stride(), int(each.storage_offset()), dtype) for each in (a, b))
    try:
        problem = product_of(word, one, other, out_dtype=dtype, precision=precision_of(a.dtype), epilogue=activation)
    except ValueError:  # an empty product, or a size beyond what is tuned
        return None
    a_stored, b_stored = one.stored(), other.stored()
    if not _is_reachable(problem, a_stored, b_stored):
        return None
    runner = current.runner(problem, placed(problem, a_stored, b_stored), a.device.index or 0)
    config = current.choices[problem].config
    if runner is None or config is None:
        return None
    promised = {name: count for each in kernel_sources(problem, config) for name, count in each.divisible_by}
    return _Ready(
        runner,
        sizes=(*a.shape[:-1], b.shape[-1]),
        copies=(a_stored.is_copied, b_stored.is_copied),
        divisors=(promised.get("a", 1), promised.get("b", 1), promised.get("bias", 1)),
    )


def _is_reachable(problem: GemmProblem, a: Stored, b: Stored) -> bool:
    """May the kernel, whose offsets have 64 bits only where the sizes need them, walk operands with such wide rows?"""
    sizes = max(problem.m * problem.k, problem.k * problem.n, problem.m * problem.n)
    lines = problem.k if a.transposed else problem.m, problem.n if b.transposed else problem.k
    reach = max(lines[0] * a.pitch, lines[1] * b.pitch)
    return max(a.pitch, b.pitch) < _INT32_LIMIT and (reach < _INT32_LIMIT or sizes >= _INT32_LIMIT)


def _require_product(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str) -> None:
    """Raises RuntimeError or ValueError, in torch's words where torch.mm has them."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"gemm_tuner::matmul: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    if not (a.dim() == b.dim() == 2 or a.dim() == b.dim() == 3):
        raise RuntimeError(f"gemm_tuner::matmul: both operands must have 2 dimensions, or both 3, got {_sizes(a, b)}")
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({_sizes(a, b)})")
    if a.dim() == 3 and a.shape[0] != b.shape[0]:
        raise RuntimeError(f"gemm_tuner::matmul: both operands must have the same batch, got {_sizes(a, b)}")
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != b.shape[-1]):
        raise RuntimeError(
            f"gemm_tuner::matmul: bias must be a row of {b.shape[-1]} elements, got the shape {list(bias.shape)}"
        )


def _require_alike(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> None:
    """What ATen would ask of its own, asked before any launch."""
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


def _sizes(a: torch.Tensor, b: torch.Tensor) -> str:
    return " and ".join("x".join(map(str, each.shape)) or "a scalar" for each in (a, b))


@functools.cache
def _say_untuned(device_type: str) -> None:
    log.info(
        "products on a %s run as ATen has them: gemm_tuner.matmul launches its own kernels on CUDA devices only",
        device_type,
    )


_library = torch.library.Library("gemm_tuner", "DEF")  # lives as long as the module: its end would take the op away
_library.define(
    'matmul(Tensor a, Tensor b, Tensor? bias=None, str activation="none") -> Tensor',
    tags=(torch.Tag.pt2_compliant_tag,),
)
for _key, _kernel in (
    ("CompositeImplicitAutograd", _composite),
    ("FuncTorchBatched", _composite),
    ("Python", _composite),
    ("CUDA", _tuned),
    ("Autograd", _differentiable),
    ("AutocastCUDA", _autocast),
):
    _library.impl("matmul", _kernel, _key)
