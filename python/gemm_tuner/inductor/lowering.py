"""The problems that Inductor asks about when it compiles a model for a device, which need not exist.

The model is compiled on meta tensors. Inductor's passes and lowering see its graphs on CUDA, by fake tensors, and are
stopped where code generation would start: nothing is generated, measured, launched or allocated.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types these functions only in part)
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils import _pytree

from .._core import DeviceSpec
from ..capture import Capture
from ..recorder import attention_as
from ..records import Record
from . import _compat_lowering as _compat
from .choices import covered
from .session import Options, Session, Target

T = TypeVar("T")


@contextmanager
def lowering(seen: Capture, device: DeviceSpec) -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Gives a function that compiles a model whose tensors are all on meta (see `on_meta`).

    What Inductor asks for as such models run in the block, forward and backward, is in `seen` at its end: each product
    as often as it is lowered, which is once per compiled graph, however often that runs. Products that stock Inductor
    keeps are skipped, with the reason. torch forgets what this process has compiled, so that one model's sizes do not
    make the next one's dynamic; and while a graph is lowered torch.cuda answers for `device`, in every thread.
    """
    session, aim = _Unlearned(Options("lookup", device=device)), Target(device, is_here=False)

    def inner_compile(graph: Any, inputs: Sequence[Any], **options: Any) -> Callable[..., Any]:
        outputs = _compat.outputs_on_meta(graph)
        with covered(session, aim):
            _compat.lower(graph, inputs, options, device)
        return outputs

    def backend(graph: Any, inputs: Any) -> Any:
        return _compat.compile_on_meta(graph, inputs, inner_compile)

    torch.compiler.reset()
    try:
        with attention_as(_attention, "AutogradMeta", "AutogradCUDA"), _compat.no_device_needed():
            yield lambda model: torch.compile(model, backend=backend)
    finally:
        torch.compiler.reset()
        for decision in session.report.decisions:
            seen.note(decision.problem)
        for why in session.report.left:
            seen.skip(why)


class _Unlearned(Session):
    """Knows no records: what earlier compiles have learned does not shape the graphs."""

    def _known(self) -> list[Record]:
        return []


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """scaled_dot_product_attention by a GPU's fused kernel that takes masks, or, as none takes less than 4D, by bmm."""
    aten: Any = torch.ops.aten
    if query.dim() != 4:
        written_out: torch.Tensor = aten._scaled_dot_product_attention_math(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )[0]
        return written_out
    if enable_gqa:
        key, value = (each.repeat_interleave(query.size(1) // each.size(1), 1) for each in (key, value))
    if attn_mask is not None:
        attn_mask = attn_mask.to(query.dtype).expand(*query.shape[:-1], key.size(-2))
    fused: torch.Tensor = aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale
    )[0]
    return fused


def on_meta(made: T) -> T:
    """Models and tensors, however nested, on meta. What is there already is kept, and what is shared stays shared."""
    moved: dict[int, torch.Tensor] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta and id(tensor) not in moved:
            there = torch.empty_like(tensor, device="meta", requires_grad=tensor.requires_grad)
            moved[id(tensor)] = nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there
            moved[id(tensor)].__dict__.update(tensor.__dict__)  # where Dynamo keeps its marks of dynamic sizes
        return moved.get(id(tensor), tensor)

    def move_any(leaf: Any) -> Any:
        for part in leaf.modules() if isinstance(leaf, nn.Module) else ():
            tables: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
            for owned in tables:
                owned.update({name: move(tensor) for name, tensor in owned.items() if tensor is not None})
        return move(leaf) if isinstance(leaf, torch.Tensor) else leaf

    return _pytree.tree_map(move_any, made)  # type: ignore[no-any-return]
