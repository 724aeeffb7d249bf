"""One kernel, compiled by Triton and measured with NVIDIA's own tools. Runs in a worker process; imports triton."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend

from ._core import DeviceSpec, FmaRates, GemmConfig, GemmProblem, KernelResources
from .binary_cache import Binary, Target, Template
from .sources import KernelSource

_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
# HMMA, IMMA, QMMA, OMMA, BMMA, DMMA of the warp, HGMMA... of the warp group, UTCHMMA... of tcgen05
_TENSOR_CORE = re.compile(r"\b(?:UTC|[HIQOBD])[A-Z]*MMA\b")


def compile_kernel(source: KernelSource, compute_capability: int) -> Any:
    """Triton's CompiledKernel of the source. Raises whatever Triton raises."""
    return triton.compile(
        ast_source(source),
        target=GPUTarget("cuda", compute_capability, 32),
        options={"num_warps": source.num_warps, "num_stages": source.num_stages},
    )


def compile_template(problem: GemmProblem, config: GemmConfig, device: DeviceSpec) -> tuple[Any, Template]:
    """The same of the template that Inductor has for the problem. Loads torch; raises what that and Triton raise."""
    from .inductor._compat_rendering import kernel_in
    from .inductor.rendering import render

    rendered = render(problem, config, device)
    with kernel_in(rendered.text) as (function, meta, options):
        kernel = triton.compile(
            ASTSource(function, meta["signature"], constexprs=meta["constants"], attrs=meta["configs"][0]),
            target=GPUTarget("cuda", device.compute_capability, 32),
            options={"num_warps": config.num_warps, "num_stages": config.num_stages, **options},
        )
    return kernel, Template(rendered.kernel_id, rendered.operands, rendered.grid)


def ast_source(source: KernelSource) -> ASTSource:
    """The specialised kernel as Triton's compiler takes it."""
    function = getattr(importlib.import_module(f"gemm_tuner.kernels.{source.module}"), source.function)
    constants = {name: getattr(tl, str(v)) if name == "ACCUMULATOR" else v for name, v in source.constants}
    types = dict(source.signature)
    signature = {name: types.get(name, "constexpr") for name in function.arg_names}
    promises = {
        (function.arg_names.index(name),): [["tt.divisibility", divisor]] for name, divisor in source.divisible_by
    }
    return ASTSource(function, signature, constexprs=constants, attrs=promises)


def assembled(kernel: Any, compute_capability: int) -> bytes:
    """The machine code of a CompiledKernel's PTX for that GPU, by the assembler and the options that Triton takes."""
    target = GPUTarget("cuda", compute_capability, 32)
    cubin: bytes = make_backend(target).make_cubin(kernel.asm["ptx"], {}, kernel.metadata, compute_capability)
    return cubin


def resources_of(cubin: bytes) -> dict[str, int]:
    """Registers, spilled bytes and tensor-core instructions of a cubin that holds one kernel."""
    usage = _shown(cubin, "cuobjdump", "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump reported no registers: {usage.strip()[-200:]}")
    return {
        "registers_per_thread": int(found[1]),
        "spill_bytes": int(found[2]),
        "tensor_core_instructions": len(_TENSOR_CORE.findall(disassembled(cubin))),
    }


def disassembled(cubin: bytes) -> str:
    """The machine code, as NVIDIA's disassembler writes it."""
    return _shown(cubin, "nvdisasm", "-c")


def job(request: dict[str, Any]) -> dict[str, Any]:
    """Compiles one kernel: its Binary as a dict, or {"error": reason}.

    request: "target", a Target, and either "source", a KernelSource, or "template", a TemplateSource, and "device", the
    DeviceSpec that it is rendered for; all as dicts.
    """
    os.environ["TRITON_ALWAYS_COMPILE"] = "1"
    started = time.perf_counter()
    try:
        target = Target(**request["target"])
        template = None
        if "template" in request:
            asked = request["template"]
            problem, config = GemmProblem.from_dict(asked["problem"]), GemmConfig.from_dict(asked["config"])
            device = request["device"]
            device = DeviceSpec.from_dict({**device, "fma": FmaRates.from_dict(device["fma"])})
            kernel, template = compile_template(problem, config, device)
        else:
            kernel = compile_kernel(KernelSource.from_dict(request["source"]), target.code)
        cubin = kernel.asm["cubin"] if target.machine == target.code else assembled(kernel, target.machine)
        resources = KernelResources(**resources_of(cubin), smem_bytes=kernel.metadata.shared)
    except Exception as error:  # noqa: BLE001 - a compiler's failures have no common type; the reason goes to the caller
        return {"error": innermost(error)}
    return Binary(
        entry=kernel.metadata.name,
        num_warps=kernel.metadata.num_warps,
        resources=resources,
        seconds=time.perf_counter() - started,
        cubin=cubin,
        global_scratch_bytes=kernel.metadata.global_scratch_size,
        template=template,
    ).to_dict()


def innermost(error: BaseException) -> str:
    """What went wrong at the bottom of the compiler, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip() if lines else 'no message'}"


def _shown(cubin: bytes, tool: str, option: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([str(_TOOLS / tool), option, file.name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{tool} failed: {done.stderr.strip()[-200:]}")
    return done.stdout
