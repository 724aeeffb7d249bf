"""A job of the worker pool: compiles one config of the project's kernel or of Inductor's, and says what it needs."""

from __future__ import annotations

import importlib.util
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gemm_tuner import GemmConfig, GemmProblem
from gemm_tuner.compile_job import ast_source, innermost, resources_of
from gemm_tuner.sources import kernel_sources
from inductor_mm import render


def job(request: dict[str, Any]) -> dict[str, Any]:
    """{"kernel", "problem", "config", "compute_capability"} -> {"smem_bytes", "spill_bytes", ...} or {"error"}."""
    problem, config = GemmProblem.from_dict(request["problem"]), GemmConfig.from_dict(request["config"])
    compute_capability = request["compute_capability"]
    try:
        if request["kernel"] == "inductor":
            source = inductor_source(problem, config, compute_capability)
        else:
            source = ast_source(kernel_sources(problem, config)[0])
        kernel = triton.compile(
            source,
            target=GPUTarget("cuda", compute_capability, 32),
            options={"num_warps": config.num_warps, "num_stages": config.num_stages},
        )
        return {"smem_bytes": kernel.metadata.shared, **resources_of(kernel.asm["cubin"])}
    except Exception as error:  # noqa: BLE001 - whatever the compiler raises is the result
        return {"error": innermost(error)}


def inductor_source(problem: GemmProblem, config: GemmConfig, compute_capability: int) -> ASTSource:
    """Inductor's rendered template with the config written into it, as its own autotuner would compile it."""
    even_k = problem.k % config.block_k == 0
    text = _rendered(tuple(problem.to_dict().items()), even_k, compute_capability).with_config(config)
    path = Path(_folder().name) / f"kernel_{abs(hash(text))}.py"
    path.write_text(text, encoding="utf-8")  # Triton reads the source from its file
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    autotuner = next(value for name, value in vars(module).items() if name.startswith("triton_tem"))
    meta = autotuner.triton_meta
    return ASTSource(autotuner.fn, meta["signature"], constexprs=meta["constants"], attrs=meta["configs"][0])


@cache
def _rendered(problem_items: tuple[tuple[str, Any], ...], even_k: bool, compute_capability: int) -> Any:
    problem = GemmProblem.from_dict(dict(problem_items))
    # any blocks will do: the config's own are written over them, and only EVEN_K must be right
    block_k = next(block for block in (16, 32, 64, 128, 256, 512) if (problem.k % block == 0) == even_k)
    return render(problem, GemmConfig(block_k=block_k), compute_capability)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gemm-tuner-rendered-")
