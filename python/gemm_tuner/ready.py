"""From a call of an op to what computes it: the records' choice, made ready for such calls once. Imports torch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import torch

from ._core import GemmProblem, LibraryAlgorithm
from .cublaslt import Candidate, promised_alignment
from .in_use import RecordsInUse, Runner
from .operand import Operand, Stored
from .placement import placed
from .recorder import precision_of, problem_of
from .sources import kernel_sources

_TUNED_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_INT32_LIMIT = 2**31


class Ready(NamedTuple):
    """A runner with what one kind of call needs around it.

    sizes, dtype: of the result. copies: must A, must B be copied for the kernel to walk them? divisors: bytes that must
    divide the addresses of operands, by their names.
    """

    runner: Runner
    sizes: tuple[int, ...]
    dtype: torch.dtype
    copies: tuple[bool, bool]
    divisors: Mapping[str, int]

    def __call__(
        self, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, **others: torch.Tensor
    ) -> torch.Tensor | None:
        """The result; None where the memory of an operand is aligned less than torch's own is.

        others: what else the problem has (residual, scale_a, scale_b), by its name.
        """
        a = a.contiguous() if self.copies[0] else a
        b = b.contiguous() if self.copies[1] else b
        if self._is_off("a", a) or self._is_off("b", b):
            return None
        bias = None if bias is None else self._dense("bias", bias)
        others = {name: self._dense(name, other) for name, other in others.items()}
        c = torch.empty(self.sizes, dtype=self.dtype, device=a.device)
        self.runner(a, b, c, bias, **others)
        return c

    def _is_off(self, name: str, operand: torch.Tensor) -> bool:
        return operand.data_ptr() % self.divisors.get(name, 1) != 0

    def _dense(self, name: str, operand: torch.Tensor) -> torch.Tensor:
        operand = operand.contiguous()
        return operand.clone() if self._is_off(name, operand) else operand

    def takes_as_they_are(self, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> bool:
        """Could the kernel be given these very tensors, and any that lie as they do?"""
        given = {"a": a, "b": b, "bias": bias}
        return (
            not any(self.copies)
            and not any(each is not None and self._is_off(name, each) for name, each in given.items())
            and (bias is None or bias.is_contiguous())
        )


def ready_for(
    current: RecordsInUse, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, epilogue: str
) -> Ready | None:
    """What computes such a call under these records; None where ATen does. epilogue: of the problem, bias aside."""
    if a.dtype not in _TUNED_DTYPES:
        return None
    ready: Ready | None = current.prepared(_kind(a, b, bias, epilogue), lambda: _prepare(current, a, b, bias, epilogue))
    return ready


def known_for(
    current: RecordsInUse, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, epilogue: str
) -> Ready | None:
    """The same, where it is ready already: nothing is compiled or loaded."""
    ready: Ready | None = current.calls.get(_kind(a, b, bias, epilogue))
    return ready


def _kind(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, epilogue: str) -> Hashable:
    places = (place_of(each) for each in (a, b))
    return (a.device.index, a.dtype, precision_of(a.dtype), *places, bias is None, epilogue)


def place_of(operand: torch.Tensor) -> Hashable:
    """What of the way the operand lies in memory makes a kernel another."""
    return operand.shape, operand.stride(), operand.storage_offset() % 16


def _prepare(
    current: RecordsInUse, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, epilogue: str
) -> Ready | None:
    word = ("mm" if bias is None else "addmm") if a.dim() == 2 else ("bmm" if bias is None else "baddbmm")
    try:
        problem = problem_of(word, a, b, a.dtype, epilogue)
    except ValueError:  # an empty product, or a size beyond what is tuned
        return None
    return made_ready(current, problem, a, b)


def made_ready(current: RecordsInUse, problem: GemmProblem, a: torch.Tensor, b: torch.Tensor) -> Ready | None:
    """What computes the problem on operands that lie as these do; None where ATen does."""
    a_stored, b_stored = (
        Operand(each.shape, each.stride(), int(each.storage_offset()), "").stored() for each in (a, b)
    )
    if not _is_reachable(problem, a_stored, b_stored):
        return None
    runner = current.runner(problem, placed(problem, a_stored, b_stored), a.device.index or 0)
    config = current.choices[problem].config
    if runner is None or config is None:
        return None
    return Ready(
        runner,
        sizes=(*a.shape[:-1], b.shape[-1]),
        dtype=getattr(torch, problem.out_dtype),
        copies=(a_stored.is_copied, b_stored.is_copied),
        divisors=_promised(problem, config),
    )


def _promised(problem: GemmProblem, choice: Candidate) -> dict[str, int]:
    """Bytes that must divide the operands' addresses."""
    if isinstance(choice, LibraryAlgorithm):
        return promised_alignment(problem)
    return {name: count for each in kernel_sources(problem, choice) for name, count in each.divisible_by}


def _is_reachable(problem: GemmProblem, a: Stored, b: Stored) -> bool:
    """May the kernel, whose offsets have 64 bits only where the sizes need them, walk operands with such wide rows?"""
    largest = max(problem.m * problem.k, problem.k * problem.n, problem.m * problem.n)
    lines = problem.k if a.transposed else problem.m, problem.n if b.transposed else problem.k
    reach = max(lines[0] * a.pitch, lines[1] * b.pitch)
    return max(a.pitch, b.pitch) < _INT32_LIMIT and (reach < _INT32_LIMIT or largest >= _INT32_LIMIT)
