"""From a call of the op to what computes it: the records' choice, made ready for such calls once. Imports torch."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import torch

from ._core import GemmProblem, LibraryAlgorithm
from .cublaslt import Candidate, promised_alignment
from .in_use import RecordsInUse, Runner
from .operand import Operand, Stored, product_of
from .placement import placed
from .recorder import dtype_word, precision_of
from .sources import kernel_sources

_TUNED_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_INT32_LIMIT = 2**31


class Ready(NamedTuple):
    """A runner with what one kind of call needs around it.

    sizes: of the result. copies: must A, must B be copied for the kernel to walk them? divisors: bytes that must divide
    the addresses of A, B and bias.
    """

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

    def takes_as_they_are(self, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> bool:
        """Could the kernel be given these very tensors, and any that lie as they do?"""
        given = zip((a, b, bias), self.divisors, strict=True)
        return (
            not any(self.copies)
            and not any(each is not None and each.data_ptr() % divisor for each, divisor in given)
            and (bias is None or bias.is_contiguous())
        )


def ready_for(
    current: RecordsInUse, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str
) -> Ready | None:
    """What computes such a call under these records; None where ATen does."""
    if a.dtype not in _TUNED_DTYPES:
        return None
    ready: Ready | None = current.prepared(
        _kind(a, b, bias, activation), lambda: _prepare(current, a, b, bias, activation)
    )
    return ready


def known_for(
    current: RecordsInUse, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str
) -> Ready | None:
    """The same, where it is ready already: nothing is compiled or loaded."""
    ready: Ready | None = current.calls.get(_kind(a, b, bias, activation))
    return ready


def _kind(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str) -> Hashable:
    places = ((each.shape, each.stride(), each.storage_offset() % 16) for each in (a, b))
    return (a.device.index, a.dtype, precision_of(a.dtype), *places, bias is None, activation)


def _prepare(
    current: RecordsInUse, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str
) -> Ready | None:
    found = as_it_lies(a, b, bias, activation)
    if found is None:
        return None
    problem, a_stored, b_stored = found
    runner = current.runner(problem, placed(problem, a_stored, b_stored), a.device.index or 0)
    config = current.choices[problem].config
    if runner is None or config is None:
        return None
    promised = _promised(problem, config)
    return Ready(
        runner,
        sizes=(*a.shape[:-1], b.shape[-1]),
        copies=(a_stored.is_copied, b_stored.is_copied),
        divisors=(promised.get("a", 1), promised.get("b", 1), promised.get("bias", 1)),
    )


def as_it_lies(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, activation: str = "none"
) -> tuple[GemmProblem, Stored, Stored] | None:
    """The problem of the product, and where its operands are; None where no kernel of this package may walk them."""
    word = ("mm" if bias is None else "addmm") if a.dim() == 2 else ("bmm" if bias is None else "baddbmm")
    dtype = dtype_word(a.dtype)
    one, other = (Operand(each.shape, each.stride(), int(each.storage_offset()), dtype) for each in (a, b))
    try:
        problem = product_of(word, one, other, out_dtype=dtype, precision=precision_of(a.dtype), epilogue=activation)
    except ValueError:  # an empty product, or a size beyond what is tuned
        return None
    a_stored, b_stored = one.stored(), other.stored()
    return (problem, a_stored, b_stored) if _is_reachable(problem, a_stored, b_stored) else None


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
