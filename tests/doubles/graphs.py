"""What Inductor compiled, read from the code that it wrote, and ways to make it compile something on a virtual GPU."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

DEVICE = "cuda:0"  # with its index: asking torch for "the current one" would reach for a real device

Example = tuple[int, ...] | torch.Tensor


@dataclass(frozen=True)
class TritonGemm:
    """One GEMM kernel made from a Triton template, with whatever was fused into it.

    name: as the wrapper calls it, or as the candidate is called in logs. source: the text of a module that defines it,
    decorated, as `function`. constants: what the template was rendered with: BLOCK_M, EVEN_K, ALLOW_TF32...
    """

    name: str
    function: str
    source: str
    constants: dict[str, Any]
    num_warps: int
    num_stages: int


@dataclass(frozen=True)
class Graph:
    """One graph that Inductor compiled: the Python source of its wrapper, which holds the source of its kernels."""

    source: str
    is_backward: bool

    @cached_property
    def gemms(self) -> tuple[TritonGemm, ...]:
        """The Triton GEMM kernels that are defined here, in order; one may be called several times."""
        return tuple(
            gemm_of(name, text) for name, text in self.kernels.items() if "@triton_heuristics.template(" in text
        )

    @cached_property
    def kernels(self) -> dict[str, str]:
        """Source of every Triton kernel, GEMM or not, by name."""
        found = re.findall(
            r"^(\w+) = async_compile\.triton\('[^']+', '''\n(.*?)'''", self.source, re.MULTILINE | re.DOTALL
        )
        return dict(found)

    @cached_property
    def calls(self) -> tuple[str, ...]:
        """What is called, in order: names of Triton kernels, and of library kernels such as `extern_kernels.mm`."""
        found = re.findall(r"^\s+(?:\w+ = )?(extern_kernels\.\w+|\w+(?=\.run\())\b", self.source, re.MULTILINE)
        return tuple(found)

    @cached_property
    def own(self) -> tuple[dict[str, Any], ...]:
        """Configs of our own kernels that are run through the op, in order, as dicts."""
        return tuple(map(json.loads, re.findall(r"gemm_tuner\.run_config\.out\(.*config='([^']+)'", self.source)))

    @property
    def extern(self) -> tuple[str, ...]:
        """Library kernels called, in order: `mm`, `addmm`, `bmm`..."""
        prefix = "extern_kernels."
        return tuple(call.removeprefix(prefix) for call in self.calls if call.startswith(prefix))


def gemm_of(name: str, text: str) -> TritonGemm:
    """The kernel of that name, from the text of the module that Inductor wrote for it. Raises ValueError."""
    decorator = re.search(r"@triton_heuristics\.template\((.*?)\n\)\n@triton\.jit", text, re.DOTALL)
    if decorator is None:
        raise ValueError(f"kernel {name} is a template with no decorator that this double knows")
    options = dict(re.findall(r"^\s*(num_\w+)=(\d+),", decorator.group(1), re.MULTILINE))
    constants = re.findall(r"^ +(\w+) : tl\.constexpr = (.+)$", text, re.MULTILINE)
    return TritonGemm(
        name=name,
        function=re.findall(r"^def (\w+)\(", text, re.MULTILINE)[-1],
        source=text,
        constants={constant: _literal(value) for constant, value in constants},
        num_warps=int(options["num_warps"]),
        num_stages=int(options["num_stages"]),
    )


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text  # `tl.float32`


def run_traced(function: Callable[..., torch.Tensor], *examples: Example, dtype: torch.dtype = torch.float16) -> None:
    """Compiles the function for the virtual GPU without Dynamo: the graph's inputs are its arguments, in order.

    examples: shapes of floating inputs, or tensors whose shape and dtype is meant.
    """
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    with FakeTensorMode():
        inputs = [_fake(example, dtype) for example in examples]
        module = make_fx(lambda *values: (function(*values),), decomposition_table=select_decomp_table())(*inputs)
        run: Any = compile_fx(module, inputs)
        run(*inputs)


def run_on_fakes(
    model: nn.Module | Callable[..., torch.Tensor],
    *examples: Example,
    dtype: torch.dtype = torch.float16,
    backward: bool = False,
    **options: Any,
) -> None:
    """Compiles the model with torch.compile, calls it on fake tensors of the virtual GPU and, if told, runs backward.

    model: a function, or a module, whose parameters are replaced by fake ones of the dtype (build it on `meta`).
    examples: shapes of floating inputs, or tensors whose shape and dtype is meant. options: of torch.compile.
    """
    from torch._subclasses import FakeTensorMode

    torch._dynamo.reset()
    with FakeTensorMode():
        if isinstance(model, nn.Module):
            put_fake_parameters(model, dtype)
        inputs = [_fake(example, dtype).requires_grad_(_is_float(example) and backward) for example in examples]
        result = torch.compile(model, **options)(*inputs)
        if backward:
            result.sum().backward()


def put_fake_parameters(module: nn.Module, dtype: torch.dtype) -> None:
    """Replaces parameters and buffers by fake ones on the virtual GPU. To be called in FakeTensorMode."""
    made: dict[int, torch.Tensor] = {}  # parameters may be shared
    for part in module.modules():
        for owned in (part._parameters, part._buffers):
            for name, tensor in owned.items():
                if tensor is None:
                    continue
                fake = made.get(id(tensor))
                if fake is None:
                    fake = torch.empty(
                        tensor.shape, dtype=dtype if tensor.is_floating_point() else tensor.dtype, device=DEVICE
                    )
                    if isinstance(tensor, nn.Parameter):
                        fake = nn.Parameter(fake, requires_grad=tensor.requires_grad)
                    made[id(tensor)] = fake
                owned[name] = fake  # type: ignore[assignment]


def _fake(example: Example, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(example, torch.Tensor):
        return torch.empty_strided(example.shape, example.stride(), dtype=example.dtype, device=DEVICE)
    return torch.empty(example, dtype=dtype, device=DEVICE)


def _is_float(example: Example) -> bool:
    return not isinstance(example, torch.Tensor) or example.is_floating_point()
