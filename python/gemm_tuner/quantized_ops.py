"""Integer and scaled products: torch.ops.gemm_tuner.int_mm and scaled_mm, and their faces. Imports torch.

Like the op of floating products (ops.py) they are compositions of ATen's operators wherever torch takes a program
apart, and launch what the records in use name on a CUDA device in eager mode. Nobody differentiates them.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its dispatcher only in part)
from __future__ import annotations

from collections.abc import Callable

import torch

from .hot_path import hot_path, quantized_mode_of
from .in_use import in_use
from .ops import is_alone, is_taken_apart
from .ready import Ready, made_ready, place_of
from .recorder import problem_of

_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_OUT_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def int_mm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b, int8 added up in int32, by the kernel that the records in use name for it, else by torch._int_mm.

    a: [m, k]. b: [k, n], as it lies or transposed. The result is [m, n]. Not differentiable. Raises RuntimeError for
    other dtypes, shapes and devices, and what torch._int_mm raises where it is asked.
    """
    out: torch.Tensor | None = _at_once(a, b, torch.int32)
    return torch.ops.gemm_tuner.int_mm.default(a, b) if out is None else out


def scaled_mm(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """a @ b * scale_a * scale_b + bias, by the kernel that the records in use name for it, else by ATen's.

    a: [m, k], b: [k, n], both float8 (e4m3fn or e5m2, compute capability 8.9 and later) or both int8. scale_a, scale_b:
    float32, a number each, or [m, 1] and [1, n]. bias: [n] of out_dtype. out_dtype: bfloat16 by default, float16 or
    float32. The result is [m, n]. Not differentiable. Raises RuntimeError for other dtypes, shapes and devices, and
    what torch._scaled_mm (of int8 torch._int_mm) raises where it is asked.
    """
    out: torch.Tensor | None = _at_once(a, b, out_dtype or torch.bfloat16, bias, scale_a, scale_b)
    return torch.ops.gemm_tuner.scaled_mm.default(a, b, scale_a, scale_b, bias, out_dtype) if out is None else out


def _at_once(
    a: torch.Tensor, b: torch.Tensor, out_dtype: torch.dtype, bias: torch.Tensor | None = None, *scales: torch.Tensor
) -> torch.Tensor | None:
    """What is known of such a call, where nobody but the caller takes part in it."""
    hot = None if torch.compiler.is_compiling() else hot_path()
    if hot is None or not is_alone(hot, a, b, bias) or not (not scales or is_alone(hot, *scales)):
        return None
    return hot.quantized(a, b, scales, bias, quantized_mode_of(in_use(), out_dtype))


def _int_mm_by_aten(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    _require_int8(a, b)
    return torch._int_mm(a, b)


def _int_mm_tuned(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    _require_int8(a, b)
    out = _launched("int_mm", a, b, torch.int32)
    return torch._int_mm(a, b) if out is None else out


def _scaled_mm_by_aten(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:
    _require_scaled(a, b, scale_a, scale_b, bias, out_dtype)
    dtype = out_dtype or torch.bfloat16
    if a.dtype != torch.int8:
        return torch._scaled_mm(a, b, scale_a, scale_b, bias=bias, out_dtype=dtype)
    product = torch._int_mm(a, b) * scale_a * scale_b
    return (product if bias is None else product + bias).to(dtype)


def _scaled_mm_tuned(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:
    _require_scaled(a, b, scale_a, scale_b, bias, out_dtype)
    out = _launched("scaled_mm", a, b, out_dtype or torch.bfloat16, bias, scale_a=scale_a, scale_b=scale_b)
    return _scaled_mm_by_aten(a, b, scale_a, scale_b, bias, out_dtype) if out is None else out


def _watched(name: str, composite: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The op on a CUDA device where autograd may be watching: there is nothing to see, unless for one who takes apart
    programs."""

    def watched(*arguments: torch.Tensor | torch.dtype | None) -> torch.Tensor:
        if is_taken_apart(*(each for each in arguments if isinstance(each, torch.Tensor))):
            return composite(*arguments)
        with torch._C._AutoDispatchBelowAutograd():
            out: torch.Tensor = getattr(torch.ops.gemm_tuner, name).default(*arguments)
            return out

    return watched


def _launched(
    op: str,
    a: torch.Tensor,
    b: torch.Tensor,
    out_dtype: torch.dtype,
    bias: torch.Tensor | None = None,
    **scales: torch.Tensor,
) -> torch.Tensor | None:
    """What the records in use have for the product; None where it is ATen's."""
    if bias is not None and bias.dtype != out_dtype:
        return None  # ATen has bias in bfloat16 for results in float32
    current, counts = in_use(), tuple(each.numel() for each in scales.values())
    hot, unknown = hot_path(), None
    if hot is not None and hot.is_for(a):
        out = hot.quantized(a, b, tuple(scales.values()), bias, quantized_mode_of(current, out_dtype))
        unknown = (hot.scaled if scales else hot.plain).missed()
        if out is not None or unknown is None:
            return out
    key = (op, a.device.index, a.dtype, b.dtype, out_dtype, place_of(a), place_of(b), bias is None, counts)
    if key not in current.calls and a.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return None  # modules are not to be loaded now; a warm-up before the capture has them loaded

    def prepare() -> Ready | None:
        epilogue = "none" if bias is None else "bias"
        try:
            problem = problem_of(op, a, b, out_dtype, epilogue, (counts[0], counts[1]) if counts else (1, 1))
        except ValueError:  # an empty product, or a size beyond what is tuned
            return None
        return made_ready(current, problem, a, b)

    ready: Ready | None = current.prepared(key, prepare)
    out = None if ready is None else ready(a, b, bias, **scales)
    if hot is not None and unknown is not None:
        operands = {"a": a, "b": b, **({} if bias is None else {"bias": bias}), **scales}
        known = None if out is None else ready
        if scales:
            hot.scaled.learn(unknown, known, operands)
        else:
            hot.plain.learn(unknown, known, operands, aten="aten::_int_mm")
    return out


def _require_int8(a: torch.Tensor, b: torch.Tensor) -> None:
    _require_matrices("int_mm", a, b)
    if not a.dtype == b.dtype == torch.int8:
        raise RuntimeError(f"gemm_tuner::int_mm: both operands must be int8, got {a.dtype} and {b.dtype}")


def _require_scaled(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None,
    out_dtype: torch.dtype | None,
) -> None:
    """Raises RuntimeError where neither kernels of ours nor ATen's take the operands."""
    _require_matrices("scaled_mm", a, b, scale_a=scale_a, scale_b=scale_b, bias=bias)
    if not (a.dtype == b.dtype == torch.int8 or (a.dtype in _FLOAT8 and b.dtype in _FLOAT8)):
        raise RuntimeError(
            f"gemm_tuner::scaled_mm: operands must be float8 (e4m3fn or e5m2) or int8, got {a.dtype} and {b.dtype}"
        )
    if out_dtype not in (None, *_OUT_DTYPES):
        raise RuntimeError(f"gemm_tuner::scaled_mm: out_dtype must be float16, bfloat16 or float32, got {out_dtype}")
    if scale_a.dtype != torch.float32 or scale_b.dtype != torch.float32:
        raise RuntimeError(f"gemm_tuner::scaled_mm: scales must be float32, got {scale_a.dtype} and {scale_b.dtype}")
    m, n = a.shape[0], b.shape[1]
    by_row = list(scale_a.shape) == [m, 1] and list(scale_b.shape) == [1, n]
    if not by_row and not scale_a.numel() == scale_b.numel() == 1:
        raise RuntimeError(
            f"gemm_tuner::scaled_mm: scales must be a number each, or [{m}, 1] and [1, {n}], got the shapes "
            f"{list(scale_a.shape)} and {list(scale_b.shape)}"
        )
    if bias is not None and list(bias.shape) != [n]:
        raise RuntimeError(
            f"gemm_tuner::scaled_mm: bias must be a row of {n} elements, got the shape {list(bias.shape)}"
        )


def _require_matrices(op: str, a: torch.Tensor, b: torch.Tensor, **others: torch.Tensor | None) -> None:
    if not a.dim() == b.dim() == 2:
        raise RuntimeError(
            f"gemm_tuner::{op}: both operands must have 2 dimensions, got the shapes {list(a.shape)} and "
            f"{list(b.shape)}"
        )
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})"
        )
    for name, other in {"b": b, **others}.items():
        if other is not None and other.device != a.device:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but got {name} is on {other.device}, "
                f"different from other tensors on {a.device} (when checking argument in gemm_tuner::{op})"
            )


_library = torch.library.Library("gemm_tuner", "FRAGMENT")  # lives as long as the module
_SCHEMAS = {
    "int_mm": "(Tensor a, Tensor b) -> Tensor",
    "scaled_mm": "(Tensor a, Tensor b, Tensor scale_a, Tensor scale_b, Tensor? bias=None, ScalarType? out_dtype=None)"
    " -> Tensor",
}
_KERNELS: dict[str, tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor]]] = {
    "int_mm": (_int_mm_by_aten, _int_mm_tuned),
    "scaled_mm": (_scaled_mm_by_aten, _scaled_mm_tuned),
}
for _name, (_by_aten, _tuned) in _KERNELS.items():
    _library.define(_name + _SCHEMAS[_name], tags=(torch.Tag.pt2_compliant_tag,))
    for _key in ("CompositeImplicitAutograd", "FuncTorchBatched", "Python"):
        _library.impl(_name, _by_aten, _key)
    _library.impl(_name, _tuned, "CUDA")
    _library.impl(_name, _watched(_name, _by_aten), "Autograd")
