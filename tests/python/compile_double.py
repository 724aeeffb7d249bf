"""A double of the compiler: it answers at once, with the resources that the model estimates. It compiles nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from gemm_tuner import DeviceSpec, GemmConfig, GemmProblem
from gemm_tuner._core import estimate_resources
from gemm_tuner.compile import Failed


class CompileDouble:
    """Takes the place of `compile_candidates`. `asked` is what it was asked; `spoil` may replace an answer."""

    def __init__(
        self, *, seconds: float = 0.0, spoil: Callable[[int, Any], Any] = lambda place, answer: answer
    ) -> None:
        self.asked: list[tuple[GemmProblem, list[GemmConfig]]] = []
        self._seconds = seconds
        self._spoil = spoil

    def __call__(
        self, problem: GemmProblem, configs: Iterable[GemmConfig], device: DeviceSpec, **options: object
    ) -> dict[GemmConfig, Any]:
        configs = list(configs)
        self.asked.append((problem, configs))
        time.sleep(self._seconds)
        return {config: self._spoil(place, compiled(problem, config, device)) for place, config in enumerate(configs)}


def compiled(problem: GemmProblem, config: GemmConfig, device: DeviceSpec, **changes: int) -> Any:
    """What the compiler would hand back, were the estimate right; `changes` are other resources."""
    resources = estimate_resources(problem, config, device.compute_capability).replace(**changes)
    return SimpleNamespace(config=config, resources=resources)


def failed(reason: str) -> Failed:
    """A candidate that did not compile."""
    return Failed(reason)
