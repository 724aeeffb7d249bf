"""What `lowering` needs of torch that is not public, for torch 2.11 to 2.15.

Apart from `_compat`, so that a torch that lacks some of it still compiles with us.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types Inductor only in part)
from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.utils._triton
from torch._decomp import global_decomposition_table
from torch._dynamo.device_interface import CudaInterface
from torch._functorch import config as functorch_config
from torch._functorch.aot_autograd import aot_function
from torch._guards import detect_fake_mode
from torch._inductor import compile_fx, config, pattern_matcher
from torch._inductor.graph import GraphLowering
from torch._inductor.runtime.hints import DeviceProperties
from torch._inductor.utils import BoxedBool
from torch._subclasses.fake_tensor import FakeTensorMode, fake_tensor_tls
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_map, tree_map_only

from .._core import DeviceSpec

PRIVATE_NAMES = (
    "torch._decomp:global_decomposition_table",
    "torch._dynamo.device_interface:CudaInterface.get_device_properties",
    "torch._functorch.aot_autograd:aot_function",
    "torch._functorch.config:enable_autograd_cache",
    "torch._functorch.config:patch",
    "torch._guards:detect_fake_mode",
    "torch._inductor.compile_fx:compile_fx",
    "torch._inductor.compile_fx:compile_fx_inner",
    "torch._inductor.config:freezing",
    "torch._inductor.config:fx_graph_cache",
    "torch._inductor.config:fx_graph_remote_cache",
    "torch._inductor.config:joint_custom_pre_pass",
    "torch._inductor.config:joint_graph_constant_folding",
    "torch._inductor.config:max_autotune",
    "torch._inductor.config:max_autotune_gemm",
    "torch._inductor.config:patch",
    "torch._inductor.config:shape_padding",
    "torch._inductor.graph:GraphLowering.compile_to_module",
    "torch._inductor.pattern_matcher:aot_function",
    "torch._inductor.runtime.hints:DeviceProperties.create",
    "torch._inductor.utils:BoxedBool",
    "torch._subclasses.fake_tensor:FakeTensorMode.avoid_device_init",
    "torch._subclasses.fake_tensor:fake_tensor_tls",
    "torch.cuda:_exchange_device",
    "torch.cuda:_maybe_exchange_device",
    "torch.fx.node:map_aggregate",
    "torch.utils._pytree:tree_map",
    "torch.utils._pytree:tree_map_only",
    "torch.utils._triton:has_triton",
)
# Only instances have them, and `torch._C` has no sources.
PRIVATE_ATTRIBUTES = (
    "torch._ops:OpOverload._can_decompose",
    "torch._ops:OpOverload._dispatch_cache",
    "torch._ops:OpOverload.py_kernels",
    "torch._subclasses.fake_tensor:FakeTensorTLS.allow_non_fake_inputs_override",
)

_CUDA = torch.device("cuda", 0)
_GUARDS = "_ZN3c104impl26device_guard_impl_registryE"  # c10::impl::device_guard_impl_registry


# Compiling on meta


def compile_on_meta(graph: Any, inputs: Any, inner_compile: Callable[..., Any]) -> Any:
    """What a backend makes of a graph of meta tensors: Inductor's, with `inner_compile` in its compiler's place.

    The graphs that reach it, now or when a backward runs, are on CUDA; their inputs are still on meta.
    """
    changes: dict[str, Any] = {
        "joint_custom_pre_pass": _place,
        "joint_graph_constant_folding": False,  # it takes what is returned on meta for dead, and computes on the GPU
        "shape_padding": False,  # it is benchmarked, unless there is a record of the problem as it is: then it is off
        "max_autotune": False,
        "max_autotune_gemm": False,
        "freezing": False,
    }
    uncached = functorch_config.patch(enable_autograd_cache=False)
    retraced = mock.patch.object(pattern_matcher, "aot_function", _aot_function_on_meta)
    with config.patch(changes), uncached, retraced:
        return compile_fx.compile_fx(graph, inputs, inner_compile=inner_compile)


def _place(graph: torch.fx.Graph) -> None:
    """Puts on CUDA what a graph has on meta, before Inductor's passes: they leave meta tensors alone."""

    def moved(value: Any) -> Any:
        return _CUDA if isinstance(value, torch.device) and value.type == "meta" else value

    for node in list(graph.nodes):
        value = node.meta.get("val")
        node.meta["val"] = tree_map(_placed, value)
        node.args, node.kwargs = map_aggregate(node.args, moved), map_aggregate(node.kwargs, moved)
        if node.op == "get_attr" and isinstance(value, torch.Tensor) and value.is_meta:
            with graph.inserting_before(node):  # a constant, which has no values on meta
                like: dict[str, Any] = {"dtype": value.dtype, "device": _CUDA}
                shape = (list(value.shape), list(value.stride()))
                empty = graph.call_function(torch.ops.aten.empty_strided.default, shape, like)
            empty.meta = node.meta
            node.replace_all_uses_with(empty)
            graph.erase_node(node)


def _placed(value: Any, mode: Any = None) -> Any:
    if not (isinstance(value, torch.Tensor) and value.is_meta):
        return value
    with mode or value.fake_mode:  # type: ignore[attr-defined]
        return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=_CUDA)


def _aot_function_on_meta(function: Any, _: Any, *, partition_fn: Callable[..., Any], **kwargs: Any) -> Any:
    """Traces training patterns on meta: to differentiate what is on CUDA, autograd would need the device."""

    def like(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(tensor, device="meta", requires_grad=tensor.requires_grad)

    def partition(graph: Any, *args: Any, **more: Any) -> Any:
        _place(graph.graph)
        return partition_fn(graph, *args, **more)

    traced = aot_function(function, lambda graph, _: outputs_on_meta(graph), partition_fn=partition, **kwargs)
    return lambda *values: traced(*tree_map_only(torch.Tensor, like, values))


def outputs_on_meta(graph: Any) -> Callable[[list[Any]], list[Any]]:
    """Stands for the compiled graph: gives outputs of the right sizes, on meta, and computes nothing."""
    inputs = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
    (last,) = graph.graph.find_nodes(op="output")
    outputs = [getattr(node, "meta", {}).get("val", node) for node in last.args[0]]

    def run(given: list[Any]) -> list[Any]:
        symbols = {
            expected.node.expr: value
            for expected, value in zip(inputs, given, strict=True)
            if isinstance(expected, torch.SymInt)
        }
        given.clear()  # as compiled graphs do with what they are given to keep

        def number(size: Any) -> Any:
            return int(size.node.expr.xreplace(symbols)) if isinstance(size, torch.SymInt) else size

        def made(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return number(value)
            sizes, strides = ([number(each) for each in of] for of in (value.size(), value.stride()))
            return torch.empty_strided(sizes, strides, dtype=value.dtype, device="meta")

        return [made(value) for value in outputs]

    run._boxed_call = True  # type: ignore[attr-defined]
    return run


# Lowering for a device that need not exist


class _Lowered(BaseException):
    """Stops Inductor where it would start to compile code. Nothing on the way is to handle it as an error."""


def lower(
    graph: Any,
    inputs: Sequence[Any],
    options: dict[str, Any],
    device: DeviceSpec,
    *,
    on_lowered: Callable[[Any], None] = lambda _: None,
) -> None:
    """Has Inductor lower a graph that is on meta for the device, and compile nothing. `on_lowered` sees the result."""

    def stop(lowered: Any, *_: Any, **__: Any) -> None:
        on_lowered(lowered)
        raise _Lowered

    _place(graph.graph)  # what the passes have put in
    placed = [_placed(value, detect_fake_mode(inputs)) for value in inputs]
    uncached = config.patch(fx_graph_cache=False, fx_graph_remote_cache=False)
    stopped = mock.patch.object(GraphLowering, "compile_to_module", stop)
    with suppress(_Lowered), uncached, _torch_believes_in(device), stopped:
        compile_fx.compile_fx_inner(graph, placed, **{**options, "cudagraphs": BoxedBool(False)})


@contextmanager
def _torch_believes_in(device: DeviceSpec) -> Iterator[None]:
    """torch.cuda answers for the device, and there is no other."""
    major, minor = divmod(device.compute_capability, 10)
    properties = SimpleNamespace(
        name=device.name,
        major=major,
        minor=minor,
        multi_processor_count=device.sm_count,
        regs_per_multiprocessor=device.registers_per_sm,
        max_threads_per_multi_processor=device.max_threads_per_sm,
        shared_memory_per_block_optin=device.smem_per_block_optin_bytes,
        L2_cache_size=device.l2_bytes,
        warp_size=32,
        gcnArchName="",
    )
    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_properties": properties,
        "get_device_capability": (major, minor),
        "_exchange_device": 0,
        "_maybe_exchange_device": 0,
        "get_rng_state": torch.zeros(0, dtype=torch.uint8),
        "set_rng_state": None,
    }
    with ExitStack() as undo:
        for name, answer in answers.items():
            undo.enter_context(mock.patch.object(torch.cuda, name, _always(answer)))
            if name in vars(CudaInterface):  # which has taken it at its import
                undo.enter_context(mock.patch.object(CudaInterface, name, staticmethod(_always(answer))))
        # as on machines where there is no CUDA: a constant is made on the CPU, then said to be moved
        undo.enter_context(mock.patch.object(FakeTensorMode, "avoid_device_init", True))
        for remembering in (DeviceProperties.create, torch.utils._triton.has_triton):
            remembering.cache_clear()
            undo.callback(remembering.cache_clear)
        yield


@contextmanager
def _composites_taken_apart_on_meta() -> Iterator[None]:
    """On meta torch has Python kernels for operators that are made of others, such as nll_loss, and other devices have
    none: tracing would stop there, and the gradient with it.
    """
    decomposed = {each for table in global_decomposition_table.values() for each in table}
    composites = [each for each in decomposed if isinstance(each, torch._ops.OpOverload) and each._can_decompose()]
    kernels = {
        (each, key): each.py_kernels.pop(key)
        for each in composites
        for key in list(each.py_kernels)
        if str(key) == "DispatchKey.Meta"
    }
    _forget_dispatch(composites)
    try:
        yield
    finally:
        for (each, key), kernel in kernels.items():
            each.py_kernels[key] = kernel
        _forget_dispatch(composites)


def _forget_dispatch(operators: Iterable[Any]) -> None:
    for each in operators:
        each._dispatch_cache.clear()


def _always(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer


@contextmanager
def no_device_needed() -> Iterator[None]:
    """In the calling thread torch traces what is on CUDA or on meta without a device to ask."""
    before = fake_tensor_tls.allow_non_fake_inputs_override
    fake_tensor_tls.allow_non_fake_inputs_override = True  # torch.tensor(..., device="meta") never makes a fake tensor
    try:
        with _cuda_guarded(), _composites_taken_apart_on_meta():
            yield
    finally:
        fake_tensor_tls.allow_non_fake_inputs_override = before


@contextmanager
def _cuda_guarded() -> Iterator[None]:
    """Gives CUDA the device guard of meta, which guards nothing, in builds of torch that have none for it.

    Those with CUDA do so themselves where there is no GPU, so that operators take fake tensors.
    """
    autograd: Any = torch.autograd
    kinds = autograd.DeviceType
    cuda, meta = int(kinds.CUDA), int(kinds.Meta)
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * (meta + 1)).in_dll(library, _GUARDS)
    if guards[cuda] is not None:
        yield
        return
    guards[cuda] = guards[meta]
    try:
        yield
    finally:
        guards[cuda] = None
