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
from gemm_tuner.compile import Compiled, compile_candidates
from gemm_tuner.launches import launches_of
from gemm_tuner.operand import Operand
from gemm_tuner.placement import placed
from gemm_tuner.recorder import dtype_word
from gemm_tuner.settings import settings
from gemm_tuner.sources import workspace_bytes

NAMESPACE = "gemm_tuner_native"
LIBTORCH = Path(torch.__file__).parent / "lib"

Call = Callable[[torch.Tensor, torch.Tensor], Any]


def loaded(
    problem: gt.GemmProblem, config: gt.GemmConfig, a: torch.Tensor, b: torch.Tensor, spec: gt.DeviceSpec
) -> _core.LoadedKernel:
    """The kernels of the config, compiled and loaded, for operands that lie as these two.

    Raises RuntimeError where they do not compile, and what the launcher raises.
    """
    compiled = compile_candidates(problem, [config], spec, kernel="gemm_tuner", workers=1)[config]
    if not isinstance(compiled, Compiled):
        raise RuntimeError(f"{config} does not compile for {problem}: {compiled.reason}")
    stored = (
        Operand(each.shape, each.stride(), int(each.storage_offset()), dtype_word(each.dtype)).stored()
        for each in (a, b)
    )
    launches = [_core.Launch(**vars(each)) for each in launches_of(problem, compiled, placed(problem, *stored))]
    return _core.Launcher(library=settings().libcuda, ordinal=a.device.index or 0).load(launches)


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
        kernel = loaded(problem, config, a, b, spec)
        made = {
            "c": ((*a.shape[:-1], b.shape[-1]), dtype_word(a.dtype)),
            "parts": ((workspace_bytes(problem, config),), "uint8"),
            "global_scratch": ((kernel.scratch_bytes,), "uint8"),
        }
        wanted: dict[str, Any] = {name: made[name] for name in kernel.operands if name in made}
        native.launch(key, kernel, operands={"a": 0, "b": 1, **wanted}, result="c")
        yield op
    finally:
        native.clear()
        library._destroy()
