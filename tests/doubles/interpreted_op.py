"""The op's tuned path on CPU tensors, its kernels in Triton's interpreter: a double of a GPU, for tests.

Import it in a process that has TRITON_INTERPRET=1 set before triton is first imported. What is doubled is the launch
alone: dispatch, autograd, choice by records, placement and launch arguments are the op's own.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries only in part)
from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

import gemm_tuner as gt
from doubles.op_records import DEVICE
from doubles.ops_on_cpu import ops_on_cpu
from gemm_tuner.choosing import Choice
from gemm_tuner.in_use import OnMiss, RecordsInUse, Work, put_in_use
from gemm_tuner.launches import arguments_of
from gemm_tuner.records import Record
from gemm_tuner.sources import KernelSource, accumulator_of, grids, kernel_sources, workspace_bytes
from interpreted import launch

_interpreter = threading.Lock()  # it puts functions of its own into triton's modules while it runs


class InterpretedRunner:
    """Runs a `Work` of the op; counts its calls, and poisons what it is to write."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.calls = 0

    def __call__(
        self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, bias: torch.Tensor | None, /, **others: torch.Tensor
    ) -> None:
        with _interpreter:
            self._run({"a": a, "b": b, "c": c, "bias": bias, **others})

    def _run(self, given: dict[str, torch.Tensor | None]) -> None:
        self.calls += 1
        problem, config = self.work.problem, self.work.config
        assert isinstance(config, gt.GemmConfig)
        parts = torch.full((workspace_bytes(problem, config) // 4,), 77, dtype=getattr(torch, accumulator_of(problem)))
        c = given["c"]
        assert c is not None
        c.fill_(99)
        # kernels see addresses: the interpreter takes a tensor for the memory from its first element on
        operands = {**given, "parts": parts}
        for source, grid in zip(kernel_sources(problem, config), grids(problem, config), strict=True):
            for name, divisor in source.divisible_by:
                tensor = operands.get(name)
                assert tensor is None or tensor.data_ptr() % divisor == 0, f"{name} breaks its promise of {divisor}"
            launch(source, grid, self._values(source, operands))

    def _values(self, source: KernelSource, operands: dict[str, torch.Tensor | None]) -> dict[str, object]:
        values: dict[str, object] = {}
        arguments = arguments_of(self.work.problem, source, self.work.place)
        for (name, _), argument in zip(source.signature, arguments, strict=True):
            if isinstance(argument, tuple):
                values[name] = argument[1]
                assert all(argument[1] % count == 0 for each, count in source.divisible_by if each == name), name
            else:
                tensor = operands["a"] if argument is None else operands[argument]  # a pointer that is never followed
                values[name] = tensor
        return values


class Interpreted:
    """What the op has done on the double: runners in the order in which they were made."""

    def __init__(self) -> None:
        self.runners: list[InterpretedRunner] = []

    def runner_of(self, work: Work) -> InterpretedRunner:
        """A runner for the op."""
        self.runners.append(InterpretedRunner(work))
        return self.runners[-1]

    @property
    def problems(self) -> list[gt.GemmProblem]:
        """Of the launches so far, each runner's as often as it was called."""
        return [each.work.problem for each in self.runners for _ in range(each.calls)]


class AnyRecords(RecordsInUse):
    """As if every problem had a record of that config."""

    def __init__(self, config: gt.GemmConfig, seen: Interpreted) -> None:
        super().__init__((), device_of=lambda ordinal: DEVICE, runner_of=seen.runner_of)
        self._config = config

    def _choose(self, problem: gt.GemmProblem, device: gt.DeviceSpec) -> Choice:
        return Choice(self._config, "a double's")


@contextmanager
def tuned_on_cpu(
    records: Iterable[Record] | gt.GemmConfig = (), *, on_miss: OnMiss = "aten", device: gt.DeviceSpec = DEVICE
) -> Iterator[Interpreted]:
    """Inside the block the op treats CPU tensors as it treats CUDA's, on a doubled RTX 3060 or another device.

    records: those in use, or the config of every problem, which then is the RTX 3060's.
    """
    seen = Interpreted()
    if isinstance(records, gt.GemmConfig):
        used: RecordsInUse = AnyRecords(records, seen)
    else:
        used = RecordsInUse(records, on_miss, device_of=lambda ordinal: device, runner_of=seen.runner_of)
    put_in_use(used)
    with used, ops_on_cpu():
        yield seen
