"""What `rendering` needs of torch that is not public, for torch 2.11 to 2.15. Imports triton."""

# mypy: disable-error-code="no-untyped-call"
# (torch types Inductor only in part)
from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import triton
from torch._inductor import config, utils
from torch._inductor.choices import InductorChoices
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.runtime import triton_helpers
from torch._inductor.runtime.triton_heuristics import CachingAutotuner
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from triton.backends.compiler import GPUTarget

from .._core import DeviceSpec, GemmConfig
from . import _compat, _compat_lowering

PRIVATE_NAMES = (
    "torch._inductor.choices:InductorChoices._finalize_template_configs",
    "torch._inductor.config:max_autotune_gemm",
    "torch._inductor.config:max_autotune_gemm_backends",
    "torch._inductor.config:patch",
    "torch._inductor.decomposition:select_decomp_table",
    "torch._inductor.graph:GraphLowering.codegen",
    "torch._inductor.runtime.triton_helpers:set_driver_to_gpu",
    "torch._inductor.runtime.triton_heuristics:CachingAutotuner",
    "torch._inductor.utils:is_big_gpu",
    "torch._inductor.virtualized:V",
    "torch._subclasses.fake_tensor:FakeTensorMode",
    "torch.fx.experimental.proxy_tensor:make_fx",
)
PRIVATE_ATTRIBUTES = (
    "torch._inductor.runtime.triton_heuristics:CachingAutotuner.fn",
    "torch._inductor.runtime.triton_heuristics:CachingAutotuner.inductor_meta",
    "torch._inductor.runtime.triton_heuristics:CachingAutotuner.triton_meta",
    "torch._inductor.virtualized:V.set_choices_handler",
)

Shape = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]  # sizes, strides, type


class OneConfig(InductorChoices):
    """Chooses our template of those that Inductor offers, with one config; `kernel_id` names it afterwards."""

    def __init__(self, config: GemmConfig) -> None:
        super().__init__()
        self._config = config
        self.kernel_id = ""

    def _finalize_template_configs(
        self, template_choices: Any, kernel_inputs: Any, templates: Any, op_name: str, kwarg_overrides: Any = None
    ) -> list[Any]:
        ours = (each for uid, each in template_choices.items() if uid in _compat.TEMPLATES)
        base = next((choice for generator in ours for choice in generator), None)
        if base is None and op_name == "mm":
            base = _compat.omitted_base(self, kernel_inputs)
        if base is None:
            return []
        unknown = _compat.unknown_parameters(base)
        if unknown:
            raise ValueError(f"Inductor's template {base.template.name} has unknown parameters: {', '.join(unknown)}")
        self.kernel_id = _compat.template_id(base.template)
        _, _, k = kernel_inputs.mnk_symbolic()
        return [_compat.choice_with(base, self._config, k)]


def wrapper_of(
    function: Callable[..., Any], operands: Sequence[Shape], choices: OneConfig, device: DeviceSpec
) -> tuple[str, list[str]]:
    """The code that Inductor writes for the function on the device, and what it calls the operands there."""
    written: list[str] = []
    with _compat_lowering.no_device_needed(), FakeTensorMode():
        inputs = [torch.empty_strided(*sizes, dtype=dtype, device="meta") for *sizes, dtype in operands]
        trace = make_fx(lambda *values: (function(*values),), decomposition_table=select_decomp_table())
        graph = trace(*inputs)
    names = [node.name for node in graph.graph.find_nodes(op="placeholder")]
    with _compat_lowering.no_device_needed(), _templates_for(choices, device):
        _compat_lowering.lower(
            graph, inputs, {}, device, on_lowered=lambda lowered: written.append(lowered.codegen()[0].value)
        )
    return written[0], names


@contextmanager
def _templates_for(choices: OneConfig, device: DeviceSpec) -> Iterator[None]:
    """Triton templates alone are wanted, whatever the size of the GPU, and no driver of Triton's is asked for."""
    target = GPUTarget("cuda", device.compute_capability, 32)
    driver = SimpleNamespace(get_current_target=lambda: target)
    with ExitStack() as stack:
        stack.enter_context(config.patch(max_autotune_gemm=True, max_autotune_gemm_backends="TRITON"))
        stack.enter_context(mock.patch.object(utils, "is_big_gpu", return_value=True))
        stack.enter_context(mock.patch.object(triton.runtime.driver, "_active", driver))
        stack.enter_context(mock.patch.object(triton_helpers, "set_driver_to_gpu"))
        stack.enter_context(V.set_choices_handler(choices))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # advice for users, whose choice this is not
        yield


@contextmanager
def kernel_in(text: str) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """The Triton function that a module of Inductor's defines, what it is specialised for, and the options for its
    compiler beside warps and stages, as Inductor sets them. While the block lasts, its source is in a file."""
    with tempfile.TemporaryDirectory(prefix="gemm-tuner-rendered-") as folder:
        path = Path(folder) / "rendered.py"
        path.write_text(text, encoding="utf-8")  # Triton reads the source from its file
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        (found,) = (value for value in vars(module).values() if isinstance(value, CachingAutotuner))
        debug = bool(found.inductor_meta.get("assert_indirect_indexing", True))
        yield found.fn, found.triton_meta, {"debug": debug, "sanitize_overflow": False}
