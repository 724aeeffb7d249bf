"""A double of the compiler: it answers at once, with the resources that the model estimates. It compiles nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from gemm_tuner import DeviceSpec, GemmConfig, GemmProblem
from gemm_tuner._core import estimate_resources
from gemm_tuner.compile import Failed, kernel_id


class CompileDouble:
    """Takes the place of `compile_problems`. `asked` is what it was asked; `spoil` may replace an answer."""

    def __init__(
        self, *, seconds: float = 0.0, spoil: Callable[[int, Any], Any] = lambda place, answer: answer
    ) -> None:
        self.asked: list[tuple[GemmProblem, list[GemmConfig]]] = []
        self._seconds = seconds
        self._spoil = spoil

    def __call__(
        self, wanted: Mapping[GemmProblem, Sequence[GemmConfig]], device: DeviceSpec, **options: object
    ) -> Iterator[tuple[GemmProblem, dict[GemmConfig, Any]]]:
        for problem, configs in wanted.items():
            self.asked.append((problem, list(configs)))
            time.sleep(self._seconds)
            answers = enumerate(compiled(problem, config, device) for config in configs)
            yield problem, {answer.config: self._spoil(place, answer) for place, answer in answers}


def compiled(problem: GemmProblem, config: GemmConfig, device: DeviceSpec, **changes: int) -> Any:
    """What the compiler would hand back, were the estimate right; `changes` are other resources."""
    resources = estimate_resources(problem, config, device.compute_capability).replace(**changes)
    return SimpleNamespace(config=config, resources=resources, kernel_id=kernel_id(config.family))


def failed(reason: str) -> Failed:
    """A candidate that did not compile."""
    return Failed(reason)
