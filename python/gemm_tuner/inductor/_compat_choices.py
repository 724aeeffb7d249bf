"""A choice of Inductor's that is none of its templates: a kernel of this package, called through an op of its own."""

# mypy: disable-error-code="no-untyped-call,misc"
# (torch types Inductor only in part)
from __future__ import annotations

import functools
from typing import Any

import sympy
import torch
from torch._inductor import ir
from torch._inductor.kernel_template_choice import KernelTemplateChoice
from torch._inductor.select_algorithm import ExternKernelCaller, ExternKernelChoice
from torch._inductor.virtualized import V

from .. import config_op
from .._core import GemmConfig

PRIVATE_NAMES = (
    "torch._inductor.ir:ExternKernelOut",
    "torch._inductor.ir:ExternKernelOut.codegen",
    "torch._inductor.ir:TensorBox.create",
    "torch._inductor.kernel_inputs:MMKernelInputs.get_scalar",
    "torch._inductor.kernel_inputs:MMKernelInputs.mat1mat2",
    "torch._inductor.kernel_inputs:MMKernelInputs.nodes",
    "torch._inductor.kernel_inputs:MMKernelInputs.out_dtype",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice",
    "torch._inductor.select_algorithm:ExternKernelCaller",
    "torch._inductor.select_algorithm:ExternKernelCaller.output_node",
    "torch._inductor.select_algorithm:ExternKernelChoice",
    "torch._inductor.select_algorithm:ExternKernelChoice.bind",
    "torch._inductor.virtualized:V",
)
PRIVATE_ATTRIBUTES = (
    "torch._inductor.codegen.wrapper:PythonWrapperCodegen.add_import_once",
    "torch._inductor.graph:GraphLowering.cpp_wrapper",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice.inputs",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice.layout",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice.params",
    "torch._inductor.select_algorithm:ExternKernelCaller.input_nodes",
    "torch._inductor.select_algorithm:ExternKernelCaller.kwargs",
    "torch._inductor.select_algorithm:ExternKernelCaller.layout",
    "torch._inductor.virtualized:V.graph",
)
OPS = ("mm", "addmm", "bmm", "baddbmm")
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_IMPORT = f"import {config_op.__name__}"


def why_not(inputs: Any, op: str, *, is_hint: bool) -> str | None:
    """Why no kernel of this package is offered for the product, in a few words; None where one may be."""
    if V.graph.cpp_wrapper:
        return "not called from C++"
    if is_hint:
        return "not offered for sizes that are hints"
    if op not in OPS:
        return f"not offered for {op}"
    (a, _), dtypes = inputs.mat1mat2(), {node.get_dtype() for node in inputs.nodes()}
    if a.get_dtype() not in _DTYPES or {*dtypes, inputs.out_dtype()} != {a.get_dtype()}:
        return "not offered for such types"
    if op in ("addmm", "baddbmm"):
        if inputs.get_scalar("alpha") != 1 or inputs.get_scalar("beta") != 1:
            return "not offered where alpha or beta is not 1"
        if not _is_row(inputs.nodes()[0]):
            return "not offered where the addend is no row"
    return None


def _is_row(addend: Any) -> bool:
    """Is it one row for all rows of the product?"""
    sizes, strides = addend.get_size()[:-1], addend.get_stride()[:-1]
    return all(size == sympy.S.One or stride == sympy.S.Zero for size, stride in zip(sizes, strides, strict=True))


def choice_of(base: Any, config: GemmConfig) -> Any:
    """The config of a kernel of this package, in the place of the template choice `base`."""
    params = type(base.params)({"config": config_op.to_text(config)})
    return KernelTemplateChoice(_config_choice(), params, {}, base.layout, base.inputs)


class _Call(ir.ExternKernelOut):
    """The op in the code that Inductor writes, which may run where nobody else has registered it."""

    def codegen(self, wrapper: Any) -> None:
        wrapper.add_import_once(_IMPORT)
        super().codegen(wrapper)


class _Caller(ExternKernelCaller):
    def output_node(self) -> Any:
        *bias, a, b = self.input_nodes
        op = torch.ops.gemm_tuner.run_config.out
        return ir.TensorBox.create(
            _Call(
                layout=self.layout,
                inputs=[a, b, *bias],
                kwargs=self.kwargs,
                python_kernel_name=f"torch.ops.{op}",
                op_overload=op,
            )
        )


class _Choice(ExternKernelChoice):
    def bind(self, input_nodes: Any, layout: Any, ordered_kwargs_for_cpp_kernel: Any = (), **kwargs: Any) -> Any:
        return _Caller(self, input_nodes, layout, kwargs)


@functools.cache
def _config_choice() -> _Choice:
    return _Choice(config_op.measurable, name="gemm_tuner_run_config")
