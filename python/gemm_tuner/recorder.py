"""What capture does inside PyTorch: a dispatch mode that sees every ATen call and notes the matrix products.

The one file of capture that imports torch. Modes are part of the thread-local state that autograd carries into its
device threads, so the backward pass is seen wherever it runs; threads that a program starts itself are not.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types these classes only in part)
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass_type

from ._core import GemmProblem
from .operand import Operand, product_of

if TYPE_CHECKING:
    from .capture import Capture

ATTENTION = "aten::scaled_dot_product_attention"


class Product(NamedTuple):
    """How to read one ATen operator as a GEMM."""

    op: str
    first: int = 0  # the position of A among the arguments; B follows it


PRODUCTS = {
    "aten::mm": Product("mm"),
    "aten::addmm": Product("addmm", 1),
    "aten::addmm_": Product("addmm", 1),
    "aten::_addmm_activation": Product("addmm", 1),
    "aten::bmm": Product("bmm"),
    "aten::baddbmm": Product("baddbmm", 1),
    "aten::baddbmm_": Product("baddbmm", 1),
    "aten::_int_mm": Product("int_mm"),
    "aten::_scaled_mm": Product("scaled_mm"),
    "aten::_scaled_mm_v2": Product("scaled_mm"),
}
NOT_TUNED = {
    "aten::_grouped_mm": "grouped products are not tuned",
    "aten::_scaled_grouped_mm": "grouped products are not tuned",
    "aten::addbmm": "a product summed over its batch is not one GEMM",
    "aten::addbmm_": "a product summed over its batch is not one GEMM",
}


@contextmanager
def recording(seen: Capture) -> Iterator[None]:
    """Notes in ``seen`` the products that this thread, and the backward passes it starts, run meanwhile."""
    # force_eager: a compiled function would hide its products in kernels, and fullgraph=True refuses dispatch modes
    eagerly = torch.compiler.set_stance
    with (
        eagerly("force_eager"),
        _encoder_layers_unfused(),
        attention_as(attention_on_meta, "AutogradMeta"),
        Recorder(seen),
    ):
        yield


class Recorder(TorchDispatchMode):
    """Runs every operator as it is and notes those that are GEMMs."""

    supports_higher_order_operators = True

    def __init__(self, seen: Capture) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(is_traceable_wrapper_subclass_type(t) for t in types):
            return NotImplemented  # a DTensor, a quantised or a nested tensor: note what it makes of the call
        if not isinstance(func, torch._ops.OpOverload):
            self.seen.skip(f"{func}: what runs inside a higher-order operator is not seen")
            return func(*args, **kwargs)
        name = func._schema.name
        if name == ATTENTION and args[0].is_meta:
            return attention_on_meta(*args, **kwargs)
        if name not in PRODUCTS and _may_be_composite(func, args):
            with self:  # inference mode hands over linear, matmul and einsum whole
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if name in PRODUCTS:
            self._note(func, args, kwargs, result)
        elif name in NOT_TUNED:
            self.seen.skip(f"{name}: {NOT_TUNED[name]}")
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: torch.Tensor) -> None:
        name = func._schema.name
        product = PRODUCTS[name]
        a, b = args[product.first], args[product.first + 1]
        if any(t.is_nested or t.layout is not torch.strided for t in (a, b)):
            self.seen.skip(f"{name}: operands that are not dense are not tuned")
        elif _is_symbolic(a) or _is_symbolic(b):
            self.seen.skip(f"{name}: sizes that are only symbols cannot be tuned")
        elif a.numel() and b.numel():
            try:
                epilogue, scales = _epilogue(name, args, kwargs), _scales(func, args, kwargs)
                self.seen.note(problem_of(product.op, a, b, result.dtype, epilogue, scales))
            except ValueError as error:
                self.seen.skip(f"{name}: {error}")


def problem_of(
    op: str,
    a: torch.Tensor,
    b: torch.Tensor,
    out_dtype: torch.dtype,
    epilogue: str = "none",
    scales: tuple[int, int] = (1, 1),
) -> GemmProblem:
    """The product of ``a`` [(batch,) m, k] and ``b`` [(batch,) k, n] as a GemmProblem; scales: how many each has.

    Raises ValueError where no GemmProblem describes it: a dtype that is not tuned, a size beyond 2**31 - 1, an empty
    dimension, scales of blocks.
    """
    first, second = (
        Operand(each.shape, each.stride(), int(each.storage_offset()), dtype_word(each.dtype)) for each in (a, b)
    )
    return product_of(
        op,
        first,
        second,
        out_dtype=dtype_word(out_dtype),
        precision=precision_of(a.dtype),
        scales=scales,
        epilogue=epilogue,
    )


def _is_symbolic(tensor: torch.Tensor) -> bool:
    return any(not isinstance(n, int) for n in (*tensor.shape, *tensor.stride(), tensor.storage_offset()))


def _may_be_composite(func: Any, args: Any) -> bool:
    """prim operators are unknown to the dispatcher, and nested tensors have kernels where others have compositions."""
    return func.namespace != "prim" and not any(isinstance(arg, torch.Tensor) and arg.is_nested for arg in args)


def dtype_word(dtype: torch.dtype) -> str:
    """As problems write it: "float16"."""
    return str(dtype).removeprefix("torch.")


def _by_property(backend: str, op: str) -> str:
    return str(getattr(getattr(torch.backends, backend), op).fp32_precision)


# what the property asks, without its detour through Python: the op asks at every call of float32
_float32_precision = getattr(torch._C, "_get_fp32_precision_getter", _by_property)


def precision_of(dtype: torch.dtype) -> str:
    """Of a product of that type, as problems write it: may float32 be computed in TF32 on a GPU?"""
    return "tf32" if dtype is torch.float32 and _float32_precision("cuda", "matmul") == "tf32" else "ieee"


def _epilogue(name: str, args: Any, kwargs: Any) -> str:
    if name == "aten::_addmm_activation":
        return "gelu_tanh" if kwargs.get("use_gelu", False) else "relu"  # cuBLASLt's GELU is the tanh form
    bias_position = {"aten::_scaled_mm": 4, "aten::_scaled_mm_v2": 8}.get(name)
    if bias_position is None:
        return "none"
    bias = args[bias_position] if len(args) > bias_position else kwargs.get("bias")
    return "none" if bias is None else "bias"


def _scales(func: Any, args: Any, kwargs: Any) -> tuple[int, int]:
    """How many scales A and B come with: one of those that do not know any."""
    given = {**dict(zip((each.name for each in func._schema.arguments), args, strict=False)), **kwargs}

    def count(scales: Any) -> int:  # one tensor, or with newer operators one for each level of scaling
        return sum(each.numel() for each in scales) if isinstance(scales, list | tuple) else int(scales.numel())

    return (count(given["scale_a"]), count(given["scale_b"])) if "scale_a" in given else (1, 1)


class _AttentionShapes(torch.autograd.Function):
    """The shapes of attention and of its gradients, for meta tensors."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any) -> torch.Tensor:
        ctx.save_for_backward(query, key, value, mask)
        # heads innermost but one, as the fused kernels leave them
        heads_last = query.transpose(-2, -3) if query.dim() > 3 else query
        out = query.new_empty(*heads_last.shape[:-1], value.shape[-1])
        return out.transpose(-2, -3) if query.dim() > 3 else out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        wanted = zip(ctx.saved_tensors, ctx.needs_input_grad, strict=True)
        return tuple(torch.empty_like(tensor) if needed else None for tensor, needed in wanted)


def attention_on_meta(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Any = None, *_: Any, **__: Any
) -> Any:
    """scaled_dot_product_attention of meta tensors as a GPU's fused kernel would run it: with no GEMM to be seen."""
    return _AttentionShapes.apply(query, key, value, attn_mask)


@contextmanager
def _encoder_layers_unfused() -> Iterator[None]:
    """PyTorch runs an encoder layer in inference as one operator, which hides its products."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def attention_as(implementation: Callable[..., Any], *keys: str) -> Iterator[None]:
    """Has the implementation stand for scaled_dot_product_attention under these dispatch keys.

    PyTorch has no fused attention for tensors without a device and would write it out as two bmm's that no GPU runs.
    """
    if torch._C._dispatch_has_kernel_for_dispatch_key(ATTENTION, keys[0]):  # a capture within a capture
        yield
        return
    library = torch.library.Library("aten", "IMPL")
    for key in keys:
        library.impl("scaled_dot_product_attention", implementation, key)
    try:
        yield
    finally:
        library._destroy()
