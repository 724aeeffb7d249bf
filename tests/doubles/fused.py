"""What a kernel that Inductor wrote needs and computes: compiled for an architecture, or interpreted on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

import gemm_tuner as gt
from gemm_tuner.compile_job import resources_of
from gemm_tuner.devices import catalogue

from .graphs import Graph, TritonGemm

_INTERPRETED = Path(__file__).with_name("interpreted_graph.py")


def compile_for(kernel: TritonGemm, compute_capability: int) -> dict[str, int]:
    """What the kernel takes on that architecture (86 for 8.6): smem_bytes, registers_per_thread, spill_bytes and
    tensor_core_instructions. Inductor's own code compiles it. Raises what Triton raises."""
    from torch._inductor.codecache import PyCodeCache

    from .virtual_gpu import virtual_gpu

    with virtual_gpu(device_of(compute_capability)):
        autotuner = getattr(PyCodeCache.load(kernel.source), kernel.function)
        autotuner.device_props = autotuner.device_props._replace(cc=compute_capability)
        compiled = autotuner._precompile_config(autotuner.configs[0]).kernel
        return {"smem_bytes": compiled.metadata.shared, **resources_of(compiled.asm["cubin"])}


def device_of(compute_capability: int) -> gt.DeviceSpec:
    """Some device of that architecture, from the catalogue."""
    return next(spec for spec in catalogue().values() if spec.compute_capability == compute_capability)


def run_interpreted(graph: Graph, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs of the compiled graph for CPU tensors, in the order of its own inputs: of the arguments, where the
    function was traced. Triton's interpreter runs its kernels, torch's CPU kernels what it calls from libraries."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.pt"
        torch.save({"source": graph.source, "inputs": [tensor.detach() for tensor in inputs]}, job)
        done = subprocess.run(
            [sys.executable, str(_INTERPRETED), str(job)],
            env={**os.environ, "TRITON_INTERPRET": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"the graph could not be interpreted:\n{done.stderr[-8000:]}")
        outputs: list[torch.Tensor] = torch.load(job)["outputs"]
        return outputs
