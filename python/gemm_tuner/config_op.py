"""The op that runs one config of this package's kernels, whatever records say: what Inductor writes into its code.

torch.ops.gemm_tuner.run_config.out is registered when this module is imported, which the code that calls it does
itself. It writes into what Inductor has allocated. Imports torch.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its dispatcher only in part)
from __future__ import annotations

import functools
import json
import logging
import threading
from collections.abc import Callable, Hashable

import torch

from ._core import DeviceSpec, GemmConfig, why_illegal
from .devices import local
from .errors import GemmTunerError
from .in_use import Runner, Work
from .ready import Lying, Ready, place_of, product_of_call
from .recorder import precision_of
from .running import NativeRunner

log = logging.getLogger("gemm_tuner")


def to_text(config: GemmConfig) -> str:
    """The config as the op takes it."""
    return json.dumps(config.to_dict(), separators=(",", ":"))


class ConfigRuns:
    """Kernels made ready for the configs that were asked for, on each GPU, once for each kind of call.

    ready: them, or why there are none, by the config's text and what else sets calls apart.
    """

    def __init__(
        self,
        *,
        device_of: Callable[[int], DeviceSpec] = local,
        runner_of: Callable[[Work], Runner] = NativeRunner,
    ) -> None:
        self._device_of = functools.cache(device_of)
        self._runner_of = runner_of
        self._lock = threading.Lock()
        self.ready: dict[tuple[Hashable, ...], Ready | str] = {}

    def run(
        self, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, config: str, out: torch.Tensor
    ) -> str | None:
        """Enqueues out = a @ b + bias by that config's kernels. None, or why that cannot be: then nothing is done."""
        row = None if bias is None else _row(bias, b.shape[-1])
        if bias is not None and row is None:
            return "the addend is not one row for all rows of the product"
        precision = precision_of(a.dtype)
        key = (config, a.device.index, a.dtype, precision, place_of(a), place_of(b), bias is None)
        ready = self.ready.get(key)
        if ready is None:
            if a.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                return "a graph is being captured, during which no kernel is loaded; call it once before"
            with self._lock:
                ready = self.ready.get(key) or self._prepare(a, b, row, GemmConfig.from_dict(json.loads(config)))
                self.ready[key] = ready
        if isinstance(ready, str):
            return ready
        return "an operand is aligned less than its strides are" if ready(a, b, row, out=out) is None else None

    def _prepare(self, a: torch.Tensor, b: torch.Tensor, row: torch.Tensor | None, config: GemmConfig) -> Ready | str:
        problem = product_of_call(a, b, row)
        work = None if problem is None else Lying.of(problem, a, b)
        if work is None:
            return "no kernel of this package walks operands that are so large, or empty, or lie so far apart"
        ordinal = a.device.index or 0
        try:
            device = self._device_of(ordinal)
            illegal = why_illegal(work.problem, config, device)
            if illegal is not None:
                return f"{work.problem}: {illegal}"
            return work.ready(self._runner_of(Work(work.problem, config, work.place, device, ordinal)), config)
        except (GemmTunerError, ValueError) as error:  # ValueError: the driver knows other parameters
            return str(error)


def _row(bias: torch.Tensor, n: int) -> torch.Tensor | None:
    """The row of n that a bias repeats; None where it is no such thing."""
    for _ in range(bias.dim() - 1):
        if bias.shape[0] != 1 and bias.stride(0) != 0:
            return None
        bias = bias[0]
    return bias.expand(n).contiguous()


def measurable(*operands: torch.Tensor, config: str, out: torch.Tensor) -> torch.Tensor:
    """The op as Inductor times it, the bias first if there is one. Never ATen in a kernel's name: raises
    NotImplementedError, upon which Inductor drops the candidate, where the kernels cannot run."""
    *bias, a, b = operands
    why = _runs.run(a, b, bias[0] if bias else None, config, out)
    if why is not None:
        raise NotImplementedError(f"{config}: {why}")
    return out


def launched(runs: ConfigRuns) -> Callable[..., torch.Tensor]:
    """The op, by kernels of `runs`, and by ATen where they cannot run, which is said once."""

    def run_config(
        a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, *, config: str, out: torch.Tensor
    ) -> torch.Tensor:
        why = runs.run(a, b, bias, config, out)
        if why is not None:
            _say_once(f"ATen computes what {config} was chosen for: {why}")
            _by_aten(a, b, bias, config=config, out=out)
        return out

    return run_config


def _by_aten(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, *, config: str, out: torch.Tensor
) -> torch.Tensor:
    if bias is None:
        return torch.matmul(a, b, out=out)
    if a.dim() == 2:
        return torch.addmm(bias, a, b, out=out)
    return torch.baddbmm(bias, a, b, out=out)


def _on_meta(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, *, config: str, out: torch.Tensor
) -> torch.Tensor:
    return out


@functools.cache
def _say_once(sentence: str) -> None:
    log.warning("%s", sentence)


_runs = ConfigRuns()
_library = torch.library.Library("gemm_tuner", "FRAGMENT")  # lives as long as the module
_library.define(
    "run_config.out(Tensor a, Tensor b, Tensor? bias=None, *, str config, Tensor(a!) out) -> Tensor(a!)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.impl("run_config.out", _by_aten, "CompositeExplicitAutograd")
_library.impl("run_config.out", _on_meta, "Meta")
_library.impl("run_config.out", launched(_runs), "CUDA")
