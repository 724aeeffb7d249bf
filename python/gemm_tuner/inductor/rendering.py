"""Inductor's own templates, rendered for one problem and config: what a compiled model will run, to be timed as such.

Inductor lowers the product and writes its code for a device that need not exist, as it will when a model is compiled.
That is for a process of its own, a compile worker: while it lasts torch.cuda answers for that device.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from .._core import DeviceSpec, GemmConfig, GemmProblem
from ..placement import operands_of, placement
from ..sources import activation_of
from . import _compat_rendering as _compat

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
}


@dataclass(frozen=True)
class Rendered:
    """A template, rendered.

    text: of a module that defines the kernel, decorated. kernel_id: `inductor::mm@0123456789ab`. operands: what its
    parameters point to, in order, by the names of `placement.operands_of`. grid: CTAs.
    """

    text: str
    kernel_id: str
    operands: tuple[str, ...]
    grid: tuple[int, int, int]


def render(problem: GemmProblem, config: GemmConfig, device: DeviceSpec) -> Rendered:
    """The template for the problem with the config, as Inductor renders it for the device.

    Operands lie as `placement` says, and sizes and strides are in the text. Raises ValueError where Inductor has no
    such template, or would need more than one kernel, and what Inductor raises.
    """
    if config.split_k != 1:
        raise ValueError(f"Inductor's templates do not split k, got split_k={config.split_k}")
    shapes = _shapes(problem)
    choices = _compat.OneConfig(config)
    with _precision(problem.precision):
        text, names = _compat.wrapper_of(_computation(problem, tuple(shapes)), [*shapes.values()], choices, device)
    return _read(text, dict(zip(names, shapes, strict=True)), choices.kernel_id, problem)


def _shapes(problem: GemmProblem) -> dict[str, _compat.Shape]:
    """What the computation takes, by name, as torch describes it."""
    place = placement(problem)
    first = 0 if problem.op in ("bmm", "baddbmm") else 1  # of the dimensions: others have no batch

    def matrix(sizes: tuple[int, int, int], strides: tuple[int, int, int], dtype: str) -> _compat.Shape:
        return sizes[first:], strides[first:], getattr(torch, dtype)

    a = matrix((problem.batch, problem.m, problem.k), place.a_strides, problem.a_dtype)
    b = matrix((problem.batch, problem.k, problem.n), place.b_strides, problem.b_dtype)
    known: dict[str, _compat.Shape] = {"a": a, "b": b, "a2": a, "b2": b}
    by_row = problem.scaling == "row"
    known["scale_a"] = ((problem.m, 1) if by_row else (), (1, 1) if by_row else (), torch.float32)
    known["scale_b"] = ((1, problem.n) if by_row else (), (problem.n, 1) if by_row else (), torch.float32)
    known["bias"] = ((problem.n,), (1,), getattr(torch, problem.out_dtype))
    elements = problem.m * problem.n
    known["residual"] = matrix((problem.batch, problem.m, problem.n), (elements, problem.n, 1), problem.out_dtype)
    return {buffer.name: known[buffer.name] for buffer in operands_of(problem) if buffer.name in known}


def _computation(problem: GemmProblem, names: tuple[str, ...]) -> Callable[..., torch.Tensor]:
    """The problem as a function of the operands, in that order."""
    aten: Any = torch.ops.aten
    ending = _ACTIVATIONS.get(activation_of(problem))

    def product(a: Any, b: Any, bias: Any = None, **more: Any) -> Any:
        match problem.op:
            case "addmm" | "baddbmm":
                return getattr(aten, problem.op)(bias, a, b)
            case "scaled_mm" if problem.a_dtype == "int8":
                scaled = aten._int_mm(a, b) * more["scale_a"] * more["scale_b"]
                return (scaled if bias is None else scaled + bias).to(getattr(torch, problem.out_dtype))
            case "scaled_mm":
                scales, out_dtype = (more["scale_a"], more["scale_b"]), getattr(torch, problem.out_dtype)
                return aten._scaled_mm(a, b, *scales, bias, out_dtype=out_dtype)
            case "mm_plus_mm":
                plain = aten.mm(a, b) + aten.mm(more["a2"], more["b2"])
            case "int_mm":
                plain = aten._int_mm(a, b)
            case _:
                plain = getattr(aten, problem.op)(a, b)
        return plain if bias is None else plain + bias

    def compute(*operands: Any) -> Any:
        given = dict(zip(names, operands, strict=True))
        residual = given.pop("residual", None)
        result = product(**given)
        result = result if ending is None else ending(result)
        return result if residual is None else result + residual

    return compute


@contextmanager
def _precision(precision: str) -> Iterator[None]:
    """What products of float32 may be computed in, as the user of a compiled model sets it."""
    matmul: Any = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = precision
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _read(wrapper: str, operands: dict[str, str], kernel_id: str, problem: GemmProblem) -> Rendered:
    """The one kernel that the wrapper defines and calls. operands: ours by the wrapper's names."""
    calls = [node for node in ast.walk(ast.parse(wrapper)) if isinstance(node, ast.Call)]
    texts = [ast.literal_eval(call.args[1]) for call in calls if _method(call) == "triton"]
    runs = [call for call in calls if _method(call) == "run" and any(key.arg == "stream" for key in call.keywords)]
    if len(texts) != 1 or len(runs) != 1 or not kernel_id:
        raise ValueError(f"Inductor makes {len(texts)} kernels of {problem}, expected its template alone")
    *arguments, x, y, z = runs[0].args
    return Rendered(
        text=texts[0],
        kernel_id=kernel_id,
        operands=tuple(operands.get(_first_name(argument), "c") for argument in arguments),
        grid=(ast.literal_eval(x), ast.literal_eval(y), ast.literal_eval(z)),
    )


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _first_name(argument: ast.expr) -> str:
    """Of a variable, or of what it is made from by a view."""
    if isinstance(argument, ast.Call):
        return _first_name(argument.args[0])
    return argument.id if isinstance(argument, ast.Name) else ""
