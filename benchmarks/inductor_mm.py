"""Inductor's own rendered `mm` template, as a function to compile: what the predictions are compared with.

The template is rendered by Inductor itself, for a device that is a double (tests/doubles/virtual_gpu.py), once per kind
of problem; block sizes are then written into the rendered text. EVEN_K decides which lines are there, so it
is part of the kind.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the double lives there

import torch
from torch._inductor import config as inductor_config
from torch._inductor.choices import InductorChoices
from torch._inductor.debug import DebugContext
from torch._inductor.graph import GraphLowering
from torch._inductor.kernel_template_choice import KernelTemplateChoice
from torch._inductor.template_heuristics.params import DictKernelTemplateParams
from torch._inductor.virtualized import V
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from doubles.fused import device_of
from doubles.virtual_gpu import virtual_gpu
from gemm_tuner import GemmConfig, GemmProblem


@dataclass(frozen=True)
class Rendered:
    """The text of a module that defines one decorated Triton kernel."""

    text: str

    def with_config(self, config: GemmConfig) -> str:
        """The text with the config's blocks. EVEN_K must be the same for both block_k."""
        text = self.text
        for name in ("block_m", "block_n", "block_k", "group_m"):
            pattern = rf"^(\s*{name.upper()} : tl\.constexpr = )\d+$"
            text, count = re.subn(pattern, rf"\g<1>{getattr(config, name)}", text, flags=re.MULTILINE)
            if count != 1:
                raise ValueError(f"the rendered template defines {name.upper()} {count} times, expected once")
        return text


class _OneConfig(InductorChoices):
    """Chooses the Triton `mm` template with the given config, and nothing else."""

    def __init__(self, config: GemmConfig, problem: GemmProblem) -> None:
        super().__init__()
        self._config = config
        self._problem = problem

    def _finalize_template_configs(self, template_choices: dict[str, Any], *args: Any, **kwargs: Any) -> list[Any]:
        base: KernelTemplateChoice = next(iter(template_choices["triton::mm"]))
        config = self._config
        wanted = {
            "BLOCK_M": config.block_m,
            "BLOCK_N": config.block_n,
            "BLOCK_K": config.block_k,
            "GROUP_M": config.group_m,
            "EVEN_K": self._problem.k % config.block_k == 0,
            "num_warps": config.num_warps,
            "num_stages": config.num_stages,
        }
        params = DictKernelTemplateParams({**base.params.to_kwargs(), **wanted})
        return [KernelTemplateChoice(base.template, params, base.extra_kwargs, base.layout, base.inputs)]


def _operands(problem: GemmProblem) -> Sequence[torch.Tensor]:
    dtype = getattr(torch, problem.a_dtype)
    shapes = ((problem.m, problem.k), (problem.k, problem.n))
    return [
        torch.empty(shape, dtype=dtype, device="cuda")
        if side == "n"
        else torch.empty(shape[::-1], dtype=dtype, device="cuda").t()
        for shape, side in zip(shapes, problem.layout, strict=True)
    ]


def render(problem: GemmProblem, config: GemmConfig, compute_capability: int) -> Rendered:
    """Renders `torch.mm` on the problem's operands with the config, through Inductor's own lowering and code writer."""
    torch.backends.cuda.matmul.allow_tf32 = problem.precision == "tf32"
    settings = {"max_autotune_gemm": True, "max_autotune_gemm_backends": "TRITON", "fx_graph_cache": False}
    with virtual_gpu(device_of(compute_capability), sm_count=132), FakeTensorMode(shape_env=ShapeEnv()) as mode:
        operands = _operands(problem)
        traced = make_fx(torch.ops.aten.mm.default)(*operands)
        graph = GraphLowering(traced, shape_env=mode.shape_env)
        with (
            inductor_config.patch(settings),
            V.set_graph_handler(graph),
            V.set_fake_mode(mode),
            V.set_debug_handler(DebugContext()),
            V.set_choices_handler(_OneConfig(config, problem)),
        ):
            graph.run(*operands)
            wrapper, _ = graph.codegen()
    found = re.search(r"async_compile\.triton\('[^']+', '''\n(.*?)'''", wrapper.value, flags=re.DOTALL)
    if found is None:
        raise RuntimeError(f"Inductor rendered no Triton kernel for {problem}")
    return Rendered(found.group(1))
