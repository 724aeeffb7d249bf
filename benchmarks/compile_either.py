"""A job of the worker pool: compiles one config of the project's kernel or of Inductor's, and says what it needs."""

from __future__ import annotations

from typing import Any

from gemm_tuner import GemmConfig, GemmProblem
from gemm_tuner.compile_job import compile_kernel, compile_template, innermost, resources_of
from gemm_tuner.devices import catalogue
from gemm_tuner.sources import kernel_sources


def job(request: dict[str, Any]) -> dict[str, Any]:
    """{"kernel", "problem", "config", "compute_capability"} -> {"smem_bytes", "spill_bytes", ...} or {"error"}."""
    problem, config = GemmProblem.from_dict(request["problem"]), GemmConfig.from_dict(request["config"])
    compute_capability = request["compute_capability"]
    try:
        if request["kernel"] == "inductor":
            device = next(spec for spec in catalogue().values() if spec.compute_capability == compute_capability)
            kernel, _ = compile_template(problem, config, device)
        else:
            kernel = compile_kernel(kernel_sources(problem, config)[0], compute_capability)
        return {"smem_bytes": kernel.metadata.shared, **resources_of(kernel.asm["cubin"])}
    except Exception as error:  # noqa: BLE001 - whatever the compiler raises is the result
        return {"error": innermost(error)}
