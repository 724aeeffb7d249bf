"""A native operator for one product: torch's dispatcher calls it and C++ launches the kernel, without Python.

What `gt.matmul` decides before a launch is left out, so that the operator can be tested and timed by itself.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries of operators only in part)
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import gemm_tuner as gt
from gemm_tuner import _core
from gemm_tuner.in_use import Work
from gemm_tuner.ready import Lying
from gemm_tuner.recorder import dtype_word
from gemm_tuner.running import NativeRunner

NAMESPACE = "gemm_tuner_native"
LIBTORCH = Path(torch.__file__).parent / "lib"

Call = Callable[[torch.Tensor, torch.Tensor], Any]


def loaded(
    problem: gt.GemmProblem, config: gt.GemmConfig, a: torch.Tensor, b: torch.Tensor, spec: gt.DeviceSpec
) -> NativeRunner:
    """The kernels of the config, compiled and loaded, for operands that lie as these two.

    Raises RuntimeError where no kernel may walk them, and what NativeRunner raises.
    """
    work = Lying.of(problem, a, b)
    if work is None:
        raise RuntimeError(f"no kernel of this package may walk the operands of {problem}")
    return NativeRunner(Work(problem, config, work.place, spec, a.device.index or 0))


@contextmanager
def native_operator(
    problem: gt.GemmProblem, config: gt.GemmConfig, a: torch.Tensor, b: torch.Tensor, *, spec: gt.DeviceSpec
) -> Iterator[Call]:
    """An operator of two tensors that computes the product of those that lie as these, on their device; it gives None
    for others. It is there until the block ends."""
    torch_library: Any = torch.library
    library = torch_library.Library(NAMESPACE, "DEF")
    library.define("product(Tensor a, Tensor b) -> Tensor?")
    library.impl("product", torch.library.fallthrough_kernel, "Autograd")
    on_gpu = a.device.type == "cuda"
    native = _core.NativeOp(
        namespace=NAMESPACE,
        name="product",
        key="CUDA" if on_gpu else "CPU",
        arguments="TT",
        libtorch_cpu=str(LIBTORCH / "libtorch_cpu.so"),
        libtorch_cuda=str(LIBTORCH / "libtorch_cuda.so") if on_gpu else None,
    )
    try:
        op: Call = getattr(torch.ops, NAMESPACE).product.default
        op(a, b)
        key = native.missed()
        if key is None:
            raise RuntimeError(f"the dispatcher did not reach the native operator with {problem}")
        runner = loaded(problem, config, a, b, spec)
        made: dict[str, Any] = {name: ((size,), "uint8") for name, size in runner.scratch_bytes.items()}
        made |= {"a": 0, "b": 1, "c": ((*a.shape[:-1], b.shape[-1]), dtype_word(a.dtype))}
        native.launch(key, runner.kernel, operands={name: made[name] for name in runner.kernel.operands}, result="c")
        yield op
    finally:
        native.clear()
        library._destroy()
