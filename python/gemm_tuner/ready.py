"""From a call of an op to what computes it: the records' choice, made ready for such calls once. Imports torch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import torch

from ._core import GemmProblem, LibraryAlgorithm
from .cublaslt import Candidate, promised_alignment
from .in_use import RecordsInUse, Runner
from .operand import Operand, Stored
from .placement import Placement, placed
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
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        out: torch.Tensor | None = None,
        **others: torch.Tensor,
    ) -> torch.Tensor | None:
        """The result; None where the memory of an operand is aligned less than torch's own is.

        out: where it is to be, however that lies. others: what else the problem has (residual, scale_a, scale_b), by
        its name.
        """
        a = a.contiguous() if self.copies[0] else a
        b = b.contiguous() if self.copies[1] else b
        if self._is_off("a", a) or self._is_off("b", b):
            return None
        bias = None if bias is None else self._dense("bias", bias)
        others = {name: self._dense(name, other) for name, other in others.items()}
        is_fit = out is not None and out.is_contiguous() and not self._is_off("c", out)
        c = out if out is not None and is_fit else torch.empty(self.sizes, dtype=self.dtype, device=a.device)
        self.runner(a, b, c, bias, **others)
        return c if out is None or is_fit else out.copy_(c)

    def _is_off(self, name: str, operand: torch.Tensor) -> bool:
        return operand.data_ptr() % self.divisors.get(name, 1) != 0

    def _dense(self, name: str, operand: torch.Tensor) -> torch.Tensor:
        operand = operand.contiguous()
        return operand.clone() if self._is_off(name, operand) else operand

    def takes_as_they_are(self, operands: Mapping[str, torch.Tensor]) -> bool:
        """Could the kernel be given these very tensors, and any that lie as they do?"""
        return not any(self.copies) and not any(
            self._is_off(name, each) or not (name in ("a", "b") or each.is_contiguous())
            for name, each in operands.items()
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
    problem = product_of_call(a, b, bias, epilogue)
    return None if problem is None else made_ready(current, problem, a, b)


def product_of_call(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, epilogue: str = "none"
) -> GemmProblem | None:
    """The problem of a @ b + bias; None of an empty product, or of a size beyond what is tuned."""
    word = ("mm" if bias is None else "addmm") if a.dim() == 2 else ("bmm" if bias is None else "baddbmm")
    try:
        return problem_of(word, a, b, a.dtype, epilogue)
    except ValueError:
        return None


def made_ready(current: RecordsInUse, problem: GemmProblem, a: torch.Tensor, b: torch.Tensor) -> Ready | None:
    """What computes the problem on operands that lie as these do; None where ATen does."""
    work = Lying.of(problem, a, b)
    if work is None:
        return None
    runner = current.runner(problem, work.place, a.device.index or 0)
    choice = current.choices[problem].config
    return None if runner is None or choice is None else work.ready(runner, choice)


class Lying(NamedTuple):
    """A problem and its operands as they lie in memory. sizes: of the result."""

    problem: GemmProblem
    a: Stored
    b: Stored
    sizes: tuple[int, ...]

    @staticmethod
    def of(problem: GemmProblem, a: torch.Tensor, b: torch.Tensor) -> Lying | None:
        """None where no kernel of this package may walk them."""
        one, other = (Operand(each.shape, each.stride(), int(each.storage_offset()), "").stored() for each in (a, b))
        sizes = (*a.shape[:-1], b.shape[-1])
        return Lying(problem, one, other, sizes) if _is_reachable(problem, one, other) else None

    @property
    def place(self) -> Placement:
        """What the runner is made for."""
        return placed(self.problem, self.a, self.b)

    def ready(self, runner: Runner, choice: Candidate) -> Ready:
        """The runner of that choice, ready for calls."""
        return Ready(
            runner,
            sizes=self.sizes,
            dtype=getattr(torch, self.problem.out_dtype),
            copies=(self.a.is_copied, self.b.is_copied),
            divisors=_promised(self.problem, choice),
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
