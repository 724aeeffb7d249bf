"""The library's kernel of a problem, as eager torch calls it, on operands that the timer has placed. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from ._core import GemmProblem, Timer
from .placement import operands_of, placement
from .sources import activation_of

_ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], object]] = {
    "relu": torch.relu_,
    "silu": torch.ops.aten.silu_.default,
    "gelu": torch.ops.aten.gelu_.default,
    "gelu_tanh": partial(torch.ops.aten.gelu_.default, approximate="tanh"),
}


def library_work(problem: GemmProblem, timer: Timer, *, ordinal: int, sets: int) -> int:
    """The timer's handle of the problem's product as torch computes it on each of the timer's operand sets.

    Everything that torch does on this thread from now on happens on that stream.
    """
    device = torch.device("cuda", ordinal)
    torch.cuda.set_device(device)
    stream: Any = torch.cuda.ExternalStream
    torch.cuda.set_stream(stream(timer.stream, device))
    torch.backends.cuda.matmul.allow_tf32 = problem.precision == "tf32"

    def in_set(number: int) -> dict[str, torch.Tensor]:
        memory = {each.name: _Memory(timer.address(each.name, number), each.bytes) for each in operands_of(problem)}
        return as_operands(problem, {name: torch.as_tensor(each, device=device) for name, each in memory.items()})

    operands = [in_set(number) for number in range(sets)]
    return timer.add(lambda number: compute(problem, operands[number]))


def as_operands(problem: GemmProblem, memory: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the problem that lie in `memory`, bytes by the name of the operand, as `placement` says."""
    place, batch = placement(problem), problem.batch
    a = problem.a_dtype, (batch, problem.m, problem.k), place.a_strides
    b = problem.b_dtype, (batch, problem.k, problem.n), place.b_strides
    c = problem.out_dtype, (batch, problem.m, problem.n), (problem.m * problem.n, problem.n, 1)
    known: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {"a": a, "b": b, "a2": a, "b2": b, "c": c}
    by_row = problem.scaling == "row"
    known["scale_a"] = "float32", (problem.m, 1) if by_row else (), (1, 1) if by_row else ()
    known["scale_b"] = "float32", (1, problem.n) if by_row else (), (problem.n, 1) if by_row else ()
    known["bias"] = problem.out_dtype, (problem.n,), (1,)
    known["residual"] = c

    def tensor(name: str) -> torch.Tensor:
        dtype, sizes, strides = known[name]
        whole = memory[name].view(getattr(torch, dtype)).as_strided(sizes, strides)
        return whole[0] if len(sizes) == 3 and not _is_batched(problem) else whole

    return {name: tensor(name) for name in known if name in memory}


def compute(problem: GemmProblem, of: Mapping[str, torch.Tensor]) -> None:
    """Writes the problem's product to `c`, and then what its epilogue does with it, in as few kernels as ATen can."""
    a, b, c, bias, residual = of["a"], of["b"], of["c"], of.get("bias"), of.get("residual")
    if problem.op == "scaled_mm" and problem.a_dtype == "int8":
        scaled = torch._int_mm(a, b) * of["scale_a"] * of["scale_b"]
        c.copy_(scaled if bias is None else scaled + bias)
    elif problem.op == "scaled_mm":
        torch._scaled_mm(a, b, of["scale_a"], of["scale_b"], bias, out_dtype=c.dtype, out=c)
    elif problem.op == "int_mm":
        torch._int_mm(a, b, out=c)
        if bias is not None:
            c.add_(bias)
    elif bias is None and residual is not None and problem.epilogue == "residual" and problem.op in ("mm", "bmm"):
        (torch.baddbmm if _is_batched(problem) else torch.addmm)(residual, a, b, out=c)
        residual = None
    elif bias is not None:
        (torch.baddbmm if _is_batched(problem) else torch.addmm)(bias, a, b, out=c)
    else:
        (torch.bmm if _is_batched(problem) else torch.mm)(a, b, out=c)
    if problem.op == "mm_plus_mm":
        c.addmm_(of["a2"], of["b2"])
    activation = _ACTIVATIONS.get(activation_of(problem))
    if activation is not None:
        activation(c)
    if residual is not None:
        c.add_(residual)


def _is_batched(problem: GemmProblem) -> bool:
    return problem.op in ("bmm", "baddbmm")


class _Memory:
    """Bytes from an address on, which are not torch's, as __cuda_array_interface__ describes them."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3}
