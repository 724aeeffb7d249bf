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
from typing import Any

import torch
from torch.autograd import forward_ad

from .arguments import ACTIVATIONS, require_alike, require_product, require_residual, sizes
from .hot_path import HotPath, Operator, hot_path, mode_of
from .in_use import RecordsInUse, in_use
from .ready import known_for, ready_for

log = logging.getLogger("gemm_tuner")

_FROM_OUTPUT = ("none", "relu")  # activations whose gradient the output tells
_PLAIN = (torch.Tensor, torch.nn.Parameter)
# looked up here: what they tell is asked at every call
_dispatch_modes, _function_modes = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack
_transforms, _tracer = torch._C._are_functorch_transforms_active, torch._C._get_tracing_state


def matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str | None = None,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """activation(a @ b + bias) + residual, by the kernel that the records in use name for it, else by ATen's.

    a: [..., m, k] or [k]. b: [k, n], or [..., k, n] whose batch dimensions broadcast with a's, as torch.matmul's do.
    bias: [n]. activation: relu, gelu, gelu_tanh, silu or none. residual: like the result, which is [..., m, n] of a's
    dtype. Differentiable, as often as asked. Raises RuntimeError as torch.mm does, ValueError for other activations.
    """
    word = activation or "none"
    if a.dim() == b.dim() == 2:
        return _call(a, b, bias, word, residual)
    if b.dim() < 2 or a.dim() < 1:
        raise RuntimeError(f"gemm_tuner::matmul: a must have 1 dimension or more and b 2 or more, got {sizes(a, b)}")
    batch = a.shape[:-2] if b.dim() == 2 else torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    result = (*batch, *a.shape[-2:-1], b.shape[-1])
    if residual is not None:
        require_residual(result, residual)
    if a.dim() == 1:
        row = None if residual is None else residual.unsqueeze(-2)
        return matmul(a.unsqueeze(0), b, bias, word, row).squeeze(-2)
    if b.dim() == 2:
        a, flat = a.flatten(end_dim=-2), -2
    else:
        a, b = (each.expand(*batch, *each.shape[-2:]).flatten(end_dim=-3) for each in (a, b))
        flat = -3
    return _call(a, b, bias, word, None if residual is None else residual.flatten(end_dim=flat)).view(result)


def _call(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str, residual: torch.Tensor | None
) -> torch.Tensor:
    """The op; straight to what is known of such a call where nobody but the caller takes part in it."""
    if not torch.compiler.is_compiling():
        hot = hot_path()
        if hot is not None and is_alone(hot, a, b, bias, residual):
            known, operator = from_cpp(hot, in_use(), a, b, bias, activation, residual)
            if known is not None:
                return known
            if operator.missed() is None:
                return _by_aten(a, b, bias, activation, residual)
    out: torch.Tensor = torch.ops.gemm_tuner.matmul.default(a, b, bias, activation, residual)
    return out


def from_cpp(
    hot: HotPath,
    current: RecordsInUse,
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None,
    activation: str,
    residual: torch.Tensor | None,
) -> tuple[torch.Tensor | None, Operator]:
    """The result, where what to launch is known, and the operator that was asked."""
    mode = mode_of(current, a.dtype, activation)
    if bias is None and residual is None and activation == "none":
        return hot.plain.call(a, b, mode), hot.plain
    return hot.fused.call(a, b, bias, residual, mode), hot.fused


def _composite(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str = "none",
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """The op as ATen computes it: of every device, every dtype and every transform."""
    require_product(a, b, bias, activation, residual)
    if a.device.type not in ("cuda", "meta"):
        _say_untuned(a.device.type)
    out = _by_aten(a, b, bias, activation)
    return out if residual is None else out + residual


def _by_aten(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None,
    activation: str,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    if residual is not None and bias is None and activation == "none":
        bias, residual = residual, None  # ATen's addend may be whole matrices
    if bias is None:
        out = torch.mm(a, b) if a.dim() == 2 else torch.bmm(a, b)
    else:
        out = torch.addmm(bias, a, b) if a.dim() == 2 else torch.baddbmm(bias, a, b)
    out = ACTIVATIONS[activation](out)
    return out if residual is None else out + residual


def _tuned(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str = "none",
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """The op on a CUDA device: what the records in use say."""
    current, hot = in_use(), hot_path()
    operator, key = None, None
    if hot is not None and hot.is_for(a):
        out, operator = from_cpp(hot, current, a, b, bias, activation, residual)
        if out is not None:
            return out
        key = operator.missed()
        if key is None:
            return _by_aten(a, b, bias, activation, residual)
    require_product(a, b, bias, activation, residual)
    require_alike(a, b, bias, residual)
    others = {} if residual is None else {"residual": residual}
    epilogue = "+".join((*(() if activation == "none" else (activation,)), *others)) or "none"
    if a.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        ready, key = known_for(current, a, b, bias, epilogue), None
    else:
        ready = ready_for(current, a, b, bias, epilogue)
    out = ready(a, b, bias, **others) if ready is not None else None
    if operator is not None and key is not None:
        is_plain = bias is None and epilogue == "none"
        aten = ("aten::mm" if a.dim() == 2 else "aten::bmm") if is_plain else None
        operands = {"a": a, "b": b, **({} if bias is None else {"bias": bias}), **others}
        operator.learn(key, None if out is None else ready, operands, aten=aten)
    return _by_aten(a, b, bias, activation, residual) if out is None else out


def _autocast(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str = "none",
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """As autocast treats torch.mm: floating operands, float64 aside, are cast to what autocast has for the device.

    A residual is not, as it is not where it is added: the sum of one in float32 is float32.
    """
    device_type = a.device.type
    dtype = torch.get_autocast_dtype(device_type)

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        eligible = tensor.is_floating_point() and tensor.dtype != torch.float64 and tensor.device.type == device_type
        return tensor.to(dtype) if eligible else tensor

    with torch.autocast(device_type, enabled=False):
        left, right, row = cast(a), cast(b), None if bias is None else cast(bias)
        if residual is not None and residual.dtype != left.dtype:
            apart: torch.Tensor = torch.ops.gemm_tuner.matmul.default(left, right, row, activation)
            return apart + residual
        out: torch.Tensor = torch.ops.gemm_tuner.matmul.default(left, right, row, activation, residual)
        return out


class _Product(torch.autograd.Function):
    """The op with an activation whose gradient the output tells. Both gradients are products of the op too."""

    @staticmethod
    def forward(
        ctx: Any,
        a: torch.Tensor,
        b: torch.Tensor,
        bias: torch.Tensor | None,
        activation: str,
        residual: torch.Tensor | None,
    ) -> torch.Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            out: torch.Tensor = torch.ops.gemm_tuner.matmul.default(a, b, bias, activation, residual)
        ctx.activation = activation
        ctx.save_for_backward(a, b, out if activation == "relu" else None)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        op = torch.ops.gemm_tuner.matmul.default
        a, b, out = ctx.saved_tensors
        if ctx.activation == "relu":
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        wants_a, wants_b, wants_bias, _, wants_residual = ctx.needs_input_grad
        return (
            op(grad, b.mT) if wants_a else None,
            op(a.mT, grad) if wants_b else None,
            grad.sum(tuple(range(grad.dim() - 1))) if wants_bias else None,
            None,
            grad if wants_residual else None,
        )


def _differentiable(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str = "none",
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """The op on a CUDA device, where autograd may be watching."""
    op, tensors = torch.ops.gemm_tuner.matmul.default, (a, b, bias, residual)
    if is_taken_apart(*tensors):
        return _composite(a, b, bias, activation, residual)
    if not (torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in tensors)):
        with torch._C._AutoDispatchBelowAutograd():
            below: torch.Tensor = op(a, b, bias, activation, residual)
            return below
    require_product(a, b, bias, activation, residual)
    if residual is not None and activation != "none":  # behind the sum the output tells no activation's gradient
        require_alike(a, b, bias, residual)
        apart: torch.Tensor = op(a, b, bias, activation) + residual
        return apart
    if activation in _FROM_OUTPUT:
        product: torch.Tensor = _Product.apply(a, b, bias, activation, residual)
        return product
    # what the activation was given is kept for its gradient: fused, a product more would have to compute it again
    return ACTIVATIONS[activation](op(a, b, bias, "none"))


def is_taken_apart(*tensors: torch.Tensor | None) -> bool:
    """Does anybody want to see what the op is made of? A compiler or another dispatch mode, a transform of torch.func,
    forward-mode differentiation, or a tensor that only looks like one. ATen's operators are what they all know."""
    return (
        _dispatch_modes() > 0
        or _transforms()
        or forward_ad._current_level >= 0
        or any(
            type(each) not in _PLAIN and torch._C._dispatch_keys(each).has(torch._C.DispatchKey.Python)
            for each in tensors
            if each is not None
        )
    )


def is_alone(
    hot: HotPath,
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
) -> bool:
    """Is it a call between the caller and the GPU: no gradient, no autocast, no mode, no tracer and no transform?"""
    if type(a) not in _PLAIN or type(b) not in _PLAIN or not hot.is_for(a):
        return False
    watched = torch.is_grad_enabled()
    if watched and (a.requires_grad or b.requires_grad):
        return False
    if bias is not None and (type(bias) not in _PLAIN or (watched and bias.requires_grad)):
        return False
    if residual is not None and (type(residual) not in _PLAIN or (watched and residual.requires_grad)):
        return False
    return not (
        torch.is_autocast_enabled(hot.device_type)
        or _dispatch_modes() > 0
        or _function_modes() > 0
        or _transforms()
        or _tracer() is not None
        or forward_ad._current_level >= 0
    )


@functools.cache
def _say_untuned(device_type: str) -> None:
    log.info(
        "products on a %s run as ATen has them: gemm_tuner.matmul launches its own kernels on CUDA devices only",
        device_type,
    )


_library = torch.library.Library("gemm_tuner", "DEF")  # lives as long as the module: its end would take the op away
_library.define(
    'matmul(Tensor a, Tensor b, Tensor? bias=None, str activation="none", Tensor? residual=None) -> Tensor',
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
