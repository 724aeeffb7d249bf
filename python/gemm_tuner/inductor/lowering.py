"""The problems that Inductor asks about when it compiles a model for a device, which need not exist.

The model is compiled on meta tensors. Inductor's passes and lowering see its graphs on a CUDA device, by fake tensors,
and are stopped where code generation would start: nothing is generated, measured, launched or allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils import _pytree

from .._core import DeviceSpec
from ..capture import Capture
from ..records import Record
from ..recorder import attention_kept_whole_on_meta
from . import _compat
from .choices import covered
from .session import Options, Session, Target

T = TypeVar("T")


@contextmanager
def lowering(seen: Capture, device: DeviceSpec) -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Gives a function that compiles a model whose tensors are all on meta (see `on_meta`).

    What Inductor asks for while such models run in the block, forward and backward, is in `seen` at its end: each
    product as often as it was lowered, which is once per compiled graph however often that runs. Products that stock
    Inductor keeps are skipped, with the reason. In the block torch.cuda answers, while a graph is compiled, for
    `device`: other threads had better not use a GPU meanwhile.
    """
    session, aim = _Unlearned(Options("lookup", device=device)), Target(device, is_here=False)

    def inner_compile(graph: Any, inputs: Sequence[Any], **options: Any) -> Callable[..., Any]:
        outputs = _compat.outputs_on_meta(graph)
        with covered(session, aim):
            _compat.lower(graph, inputs, options, device)
        return outputs

    def backend(graph: Any, inputs: Any) -> Any:
        return _compat.compiled_on_meta(graph, inputs, inner_compile)

    try:
        with attention_kept_whole_on_meta(), _compat.meta_constants_allowed():
            yield lambda model: torch.compile(model, backend=backend)
    finally:
        for decision in session.report.decisions:
            seen.note(decision.problem)
        for why in session.report.left:
            seen.skip(why)


class _Unlearned(Session):
    """Knows no records, so that what earlier compiles have learned does not shape the graphs."""

    def _known(self) -> list[Record]:
        return []


def on_meta(made: T) -> T:
    """Models and tensors, however nested, on meta: those that are there already are kept, shared ones stay shared."""
    moved: dict[int, torch.Tensor] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_meta:
            return tensor
        if id(tensor) not in moved:
            there = tensor.detach().to("meta").requires_grad_(tensor.requires_grad)
            moved[id(tensor)] = nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there
            moved[id(tensor)].__dict__.update(tensor.__dict__)  # Dynamo's marks of dynamic sizes are kept there
        return moved[id(tensor)]

    def moved_leaf(leaf: Any) -> Any:
        for part in leaf.modules() if isinstance(leaf, nn.Module) else ():
            for owned in (part._parameters, part._buffers):
                owned.update({name: move(tensor) for name, tensor in owned.items() if tensor is not None})
        return move(leaf) if isinstance(leaf, torch.Tensor) else leaf

    leaves, form = _pytree.tree_flatten(made)
    return _pytree.tree_unflatten([moved_leaf(leaf) for leaf in leaves], form)  # type: ignore[no-any-return]
