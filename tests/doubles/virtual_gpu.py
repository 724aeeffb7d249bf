"""A double of a GPU for torch, Inductor and Triton: torch believes in a CUDA device of the given kind.

Graphs are traced for it with fake tensors, lowered, and their kernels written and compiled for its architecture, on a
machine without a GPU and with the CPU build of torch. Nothing runs on it: a launch does nothing.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import _lru_cache_wrapper
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import gemm_tuner as gt

from . import benchmarks
from .benchmarks import Benchmarks, Timings
from .graphs import Example, Graph, run_on_fakes, run_traced

MEMORY_BYTES = 12 << 30  # of every virtual GPU: nothing that GEMM tuning does depends on it

# Compiled code looks at whether its inputs are aligned, as fake ones are; torch 2.15's Triton announces a new default
_EXPECTED_WARNINGS = ("Accessing the data pointer of FakeTensor is deprecated", "TRITON_DEFAULT_FP_FUSION is unset")


@dataclass(frozen=True)
class VirtualGpu:
    """The device that torch believes in, and what was done for it since the block began.

    clock: what Inductor timed. graphs: those that it compiled, or took from its cache, oldest first.
    """

    spec: gt.DeviceSpec
    clock: Benchmarks
    graphs: list[Graph] = field(default_factory=list)

    def compile(
        self, model: nn.Module | Callable[..., torch.Tensor], *examples: Example, **options: Any
    ) -> list[Graph]:
        """Compiles and runs the model on fake tensors, as graphs.run_on_fakes says; the graphs that this added."""
        return self._added(run_on_fakes, model, *examples, **options)

    def compile_traced(
        self, function: Callable[..., torch.Tensor], *examples: Example, dtype: torch.dtype = torch.float16
    ) -> Graph:
        """Compiles and runs the function on fake tensors, as graphs.run_traced says; the one graph that it becomes."""
        (graph,) = self._added(run_traced, function, *examples, dtype=dtype)
        return graph

    def _added(self, run: Callable[..., None], *arguments: Any, **options: Any) -> list[Graph]:
        before = len(self.graphs)
        run(*arguments, **options)
        return self.graphs[before:]


@contextmanager
def virtual_gpu(
    device: str | gt.DeviceSpec = "rtx-3060",
    *,
    sm_count: int | None = None,
    timings: Timings | None = None,
    fused_ms: float = 0.001,
    padding_pays: bool = False,
    keep_cache: bool = False,
    gemms_alone: bool = False,
) -> Iterator[VirtualGpu]:
    """Within the block torch has one CUDA device: `device`, from the catalogue if it is a name, or with other SMs.

    Compiled code goes into a folder that ends with the block, unless the cache is to be kept. Kernels are compiled in
    this process: no other would see the double. Blocks nest: the innermost device counts, and those around it note what
    was done on it too. Timings answer Inductor's benchmarks, as benchmarks.Benchmarks says. gemms_alone: all other
    kernels are written and not compiled, which takes most of the time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of parts of torch
        importlib.import_module("torch._inductor.compile_fx")
    from torch._inductor.utils import fresh_cache

    from .device_guard import virtual_guard

    spec = gt.device(device) if isinstance(device, str) else device
    if sm_count is not None:
        spec = spec.replace(sm_count=sm_count, available_sms=sm_count)
    gpu = VirtualGpu(spec, Benchmarks(timings, fused_ms, padding_pays))
    with ExitStack() as stack:
        for owner, name, replacement in (*_replacements(spec), *benchmarks.replacements(gpu.clock)):
            stack.enter_context(mock.patch.object(owner, name, replacement, create=True))
        for remembered in _remembered_devices():
            stack.enter_context(mock.patch.dict(remembered, clear=True))
        stack.enter_context(virtual_guard())
        stack.enter_context(warnings.catch_warnings())
        for message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        if gemms_alone:
            stack.enter_context(_others_are_not_compiled())
        if not keep_cache:
            stack.enter_context(fresh_cache())
        _forget_devices()
        stack.callback(_forget_devices)
        stack.enter_context(_collected(gpu.graphs))
        yield gpu


@contextmanager
def _collected(graphs: list[Graph]) -> Iterator[None]:
    from torch._inductor.output_code import CompiledFxGraph

    finish = CompiledFxGraph.post_compile

    def post_compile(graph: Any, inputs: Any, constants: Any, options: Any) -> Any:
        graphs.append(Graph(graph.source_code, is_backward=bool(options.get("is_backward"))))
        return finish(graph, inputs, constants, options)

    with mock.patch.object(CompiledFxGraph, "post_compile", post_compile):
        yield


@contextmanager
def _others_are_not_compiled() -> Iterator[None]:
    from torch._inductor.runtime.hints import HeuristicType
    from torch._inductor.runtime.triton_heuristics import CachingAutotuner

    precompile = CachingAutotuner.precompile

    def precompile_gemms(autotuner: Any, *args: Any, **kwargs: Any) -> None:
        if autotuner.heuristic_type == HeuristicType.TEMPLATE:
            precompile(autotuner, *args, **kwargs)
        else:
            autotuner.run = _always(None)

    with mock.patch.object(CachingAutotuner, "precompile", precompile_gemms):
        yield


def _properties(spec: gt.DeviceSpec) -> SimpleNamespace:
    """What torch.cuda.get_device_properties returns."""
    major, minor = divmod(spec.compute_capability, 10)
    return SimpleNamespace(
        name=spec.name,
        major=major,
        minor=minor,
        multi_processor_count=spec.sm_count,
        total_memory=MEMORY_BYTES,
        warp_size=32,
        clock_rate=spec.clock_mhz * 1000,
        regs_per_multiprocessor=spec.registers_per_sm,
        max_threads_per_multi_processor=spec.max_threads_per_sm,
        max_threads_per_block=1024,
        shared_memory_per_block=48 << 10,
        shared_memory_per_block_optin=spec.smem_per_block_optin_bytes,
        shared_memory_per_multiprocessor=spec.smem_per_sm_bytes,
        L2_cache_size=spec.l2_bytes,
        is_integrated=0,
        is_multi_gpu_board=0,
        gcnArchName="",
        uuid=spec.uuid or "00000000-0000-0000-0000-000000000000",
    )


def _replacements(spec: gt.DeviceSpec) -> Iterator[tuple[Any, str, Any]]:
    """(owner, attribute, double) of everything that would ask for, or act on, a real device."""
    import triton
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor import async_compile, select_algorithm
    from torch._inductor.fx_passes import joint_graph
    from torch._inductor.runtime import triton_helpers
    from torch._inductor.runtime.triton_heuristics import CachingAutotuner, StaticTritonCompileResult
    from torch._subclasses import fake_tensor

    from .virtual_driver import VirtualDriver

    properties = _properties(spec)
    answers: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "set_device": None,
        "get_device_properties": properties,
        "_get_device_properties": properties,
        "get_device_name": spec.name,
        "get_device_capability": (properties.major, properties.minor),
        "get_arch_list": [f"sm_{spec.compute_capability}"],
        "mem_get_info": (MEMORY_BYTES, MEMORY_BYTES),
        "memory_allocated": 0,
        "max_memory_allocated": 0,
        "_is_compiled": True,
        "_lazy_init": None,
        "_exchange_device": 0,
        "_maybe_exchange_device": 0,
        "synchronize": None,
        "set_rng_state": None,
        "is_current_stream_capturing": False,
    }
    for name, answer in answers.items():
        yield torch.cuda, name, _always(answer)
        if name.removeprefix("_") in vars(CudaInterface):  # which took torch.cuda's own at its import
            yield CudaInterface, name.removeprefix("_"), staticmethod(_always(answer))
    yield torch.cuda, "get_rng_state", lambda *_: torch.zeros(16, dtype=torch.uint8)
    yield torch._C, "_cuda_getCurrentRawStream", _always(0)
    yield CudaInterface, "get_raw_stream", staticmethod(_always(0))
    yield fake_tensor, "init_gpu_context", _always(None)
    # as on machines where there is no CUDA: torch.tensor(2.0, device="cuda") is made on the CPU, then said to be moved
    yield fake_tensor.FakeTensorMode, "avoid_device_init", property(_always(True))
    yield triton_helpers, "set_driver_to_gpu", _always(None)
    # set_active would first look for a real driver, to return to it
    yield triton.runtime.driver, "_active", VirtualDriver(spec)
    # torch's own launcher of cubins is part of its CUDA build
    yield StaticTritonCompileResult, "can_statically_launch", staticmethod(_always(None))
    # the compiled code's own ways to allocate and view, and its choice among kernels that the first call would time
    yield torch._C._dynamo.guards, "_empty_strided_cuda", _empty_strided
    yield torch._C._dynamo.guards, "_reinterpret_tensor", _reinterpret
    yield torch._C._dynamo.guards, "copy_if_misaligned", lambda tensor: tensor
    yield CachingAutotuner, "autotune_to_one_config", _take_the_first
    yield CachingAutotuner, "coordinate_descent_tuning", lambda _, launcher, *__, **___: launcher
    yield joint_graph.UniformValueConstantFolder, "run", _fold_on_the_cpu(joint_graph.UniformValueConstantFolder.run)
    yield async_compile, "get_compile_threads", _always(1)
    yield select_algorithm, "get_num_workers", _always(1)


def _empty_strided(size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty_strided(size, stride, dtype=dtype, device="cuda:0")


def _reinterpret(tensor: torch.Tensor, size: Sequence[int], stride: Sequence[int], offset: int = 0) -> torch.Tensor:
    return torch.as_strided(tensor, size, stride, tensor.storage_offset() + offset)


class _OnTheCpu(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes real tensors that should be on the virtual GPU on the CPU."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {name: torch.device("cpu") if name == "device" else value for name, value in (kwargs or {}).items()}
        return function(*args, **kwargs)


def _fold_on_the_cpu(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Inductor computes constants of a graph, as tensors of one element."""

    def run_there(folder: Any) -> Any:
        with _OnTheCpu():  # type: ignore[no-untyped-call]
            return run(folder)

    return run_there


def _take_the_first(autotuner: Any, *_: Any, **__: Any) -> None:
    autotuner.launchers = autotuner.launchers[:1]


def _always(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer


def _remembered_devices() -> tuple[dict[str, Any], ...]:
    """Where torch keeps the properties of devices that it once asked for."""
    from torch._dynamo import device_interface

    return device_interface.caching_worker_device_properties, device_interface.caching_worker_current_devices


def _forget_devices() -> None:
    """Empties what remembers a device through functools: the next one may be another."""
    import torch.utils._triton
    import triton.compiler.compiler
    from torch._inductor import codecache, kernel, utils
    from torch._inductor.runtime import hints

    triton.compiler.compiler.max_shared_mem.cache_clear()
    owners = (torch.cuda, torch.utils._triton, utils, kernel.mm, hints.DeviceProperties, codecache.CacheBase)
    for owner in owners:
        for remembering in vars(owner).values():
            function = remembering.__func__ if isinstance(remembering, (classmethod, staticmethod)) else remembering
            if isinstance(function, _lru_cache_wrapper):
                function.cache_clear()
