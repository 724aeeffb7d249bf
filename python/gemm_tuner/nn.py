"""Modules made of the tuned op. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .arguments import ACTIVATIONS
from .ops import matmul


class Linear(torch.nn.Linear):
    """torch.nn.Linear by `gemm_tuner.matmul`, with an activation (relu, gelu, gelu_tanh, silu) in the same kernel.

    Parameters and state_dict are torch.nn.Linear's. Raises ValueError for an unknown activation.
    """

    activation: str = "none"

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, activation: str | None = None, **options: Any
    ) -> None:
        super().__init__(in_features, out_features, bias, **options)
        if activation is not None:
            if activation not in ACTIVATIONS:
                raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
            self.activation = activation

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name for it
        """activation(input @ weight.T + bias): [..., in_features] to [..., out_features]."""
        return matmul(input, self.weight.t(), self.bias, self.activation)

    def extra_repr(self) -> str:
        """As torch.nn.Linear's, and the activation."""
        words = super().extra_repr()
        return words if self.activation == "none" else f"{words}, activation={self.activation}"


@dataclass(frozen=True)
class Replaced:
    """The layers that `replace_linear` has changed, by their names in the model."""

    layers: Mapping[str, torch.nn.Module]

    def __len__(self) -> int:
        return len(self.layers)

    def undo(self) -> None:
        """Makes them torch.nn.Linear again."""
        for layer in self.layers.values():
            if type(layer) is Linear:
                _make(layer, torch.nn.Linear)


def replace_linear(
    model: torch.nn.Module,
    filter: Callable[[str, torch.nn.Linear], bool] | None = None,  # noqa: A002 - reads best
) -> Replaced:
    """Has every torch.nn.Linear of the model compute by `gemm_tuner.matmul`; returns which, and how to undo it.

    The modules stay the same objects and only change their class, so that parameters, their dtype and device,
    state_dict, hooks and whatever else refers to them stay as they are. filter: is given each one's name and module,
    and says whether to change it. Subclasses of torch.nn.Linear, and modules whose `forward` was replaced, are left
    alone: they compute something else.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and _is_plain(module) and (filter is None or filter(name, module))
    }
    for layer in layers.values():
        _make(layer, Linear)
    return Replaced(layers)


def _is_plain(module: torch.nn.Linear) -> bool:
    return type(module) is torch.nn.Linear and "forward" not in vars(module)


def _make(layer: torch.nn.Module, kind: type[torch.nn.Module]) -> None:
    layer.__class__ = kind
