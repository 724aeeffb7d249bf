"""Config -> cubin and what it really needs: registers, spills, shared memory, tensor-core instructions.

Candidates are compiled for the device's architecture, which need not be in the machine, in parallel worker processes.
What was compiled once is kept on disk, by kernel source, specialisation, architectures and Triton version.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, final

from ._core import DeviceSpec, GemmConfig, GemmProblem, KernelResources, tensor_core_rate
from .binary_cache import Binary, BinaryCache, Target, binary_key
from .checking import check_sources
from .errors import TorchMissingError, TritonMissingError
from .settings import settings
from .sources import KernelSource, TemplateSource, kernel_id, kernel_sources, source_hash
from .versions import TRITON, installed_version
from .worker_pool import Lost, WorkerPool

__all__ = [
    "CompilePool",
    "Compiled",
    "Failed",
    "compile_candidates",
    "compile_checks",
    "compile_problems",
    "kernel_id",
    "why_dropped",
]

Kernel = Literal["gemm_tuner", "inductor"]
Source = KernelSource | TemplateSource
_Key = TypeVar("_Key")
_JOB = "gemm_tuner.compile_job:job"


@dataclass(frozen=True)
class Compiled:
    """A candidate that compiles.

    resources: of the kernel that computes the product. kernel_id: `gemm_tuner::tiled@0123456789ab`, or
    Inductor's. binaries: every
    kernel to launch, in order, as `sources.kernel_sources` lists them. seconds: what compiling took, when it was done.
    """

    config: GemmConfig
    resources: KernelResources
    kernel_id: str
    seconds: float
    binaries: tuple[Binary, ...]


@dataclass(frozen=True)
class Failed:
    """A candidate that does not compile, and why, in a sentence."""

    reason: str


@final
class CompilePool:
    """Workers that stay warm over many problems; `compile_candidates` makes its own where it is given none."""

    def __init__(self, *, workers: int | None = None, timeout_s: float = 60.0, job: str = _JOB) -> None:
        require_triton()
        # their own caches would outlive us and may lie on a disk that cannot be written
        self._scratch = tempfile.TemporaryDirectory(prefix="gemm-tuner-", ignore_cleanup_errors=True)
        self.workers = WorkerPool(
            job,
            workers=workers or cores(),
            timeout_s=timeout_s,
            environment={"TRITON_CACHE_DIR": self._scratch.name, "TORCHINDUCTOR_CACHE_DIR": self._scratch.name},
        )

    def __enter__(self) -> CompilePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.workers.close()
        self._scratch.cleanup()


def compile_candidates(
    problem: GemmProblem,
    configs: Iterable[GemmConfig],
    device: DeviceSpec,
    *,
    kernel: Kernel = "gemm_tuner",
    assemble_for: int | None = None,
    workers: int | None = None,
    timeout_s: float = 60.0,
    cache_dir: Path | None = None,
    pool: CompilePool | None = None,
) -> dict[GemmConfig, Compiled | Failed]:
    """Compiles each config of one problem; see `compile_problems`."""
    ((_, results),) = compile_problems(
        {problem: list(configs)},
        device,
        kernel=kernel,
        assemble_for=assemble_for,
        workers=workers,
        timeout_s=timeout_s,
        cache_dir=cache_dir,
        pool=pool,
    )
    return results


def compile_problems(
    wanted: Mapping[GemmProblem, Sequence[GemmConfig]],
    device: DeviceSpec,
    *,
    kernel: Kernel = "gemm_tuner",
    assemble_for: int | None = None,
    workers: int | None = None,
    timeout_s: float = 60.0,
    cache_dir: Path | None = None,
    pool: CompilePool | None = None,
) -> Generator[tuple[GemmProblem, dict[GemmConfig, Compiled | Failed]], None, None]:
    """Compiles the configs of each problem for the device's architecture; no GPU is needed.

    Yields each problem once all its configs are done, in about the order given: the kernels of all problems stand in
    one queue, so that every worker stays busy. kernel: this package's, or "inductor" for the template that Inductor
    has for the problem, rendered with the config, which takes torch. assemble_for: the compute capability of the GPU
    that is to run the device's code, where it is another one (90: PTX of 8.6 is assembled for 9.0). workers: processes,
    one per core by default. timeout_s: for one kernel. pool: workers to use instead of new ones. A compiler that
    crashes or hangs costs its own config; Ctrl-C, or an iteration that is given up, kills the workers. Raises
    ValueError where no such code runs on that GPU; TritonMissingError and TorchMissingError where something must be
    compiled, or rendered, without them.
    """
    sources_of = kernel_sources if kernel == "gemm_tuner" else _template_sources
    kernels = {
        problem: {config: _sources_or_reason(sources_of, problem, config) for config in configs}
        for problem, configs in wanted.items()
    }
    target = Target.of(device, assemble_for)
    for problem, by_config in _compiled(kernels, device, target, workers, timeout_s, cache_dir, pool):
        yield problem, {config: _outcome(config, found) for config, found in by_config.items()}


def compile_checks(
    problems: Iterable[GemmProblem],
    device: DeviceSpec,
    *,
    assemble_for: int | None = None,
    workers: int | None = None,
    timeout_s: float = 60.0,
    cache_dir: Path | None = None,
    pool: CompilePool | None = None,
) -> Iterator[tuple[GemmProblem, tuple[Binary, ...] | Failed]]:
    """Compiles what checks the problems' results, as `checking.check_sources` lists it; see `compile_problems`."""
    kernels = {problem: {None: _sources_or_reason(check_sources, problem)} for problem in problems}
    target = Target.of(device, assemble_for)
    for problem, found in _compiled(kernels, device, target, workers, timeout_s, cache_dir, pool):
        yield problem, found[None]


def _compiled(
    kernels: Mapping[GemmProblem, Mapping[_Key, tuple[Source, ...] | Failed]],
    device: DeviceSpec,
    target: Target,
    workers: int | None,
    timeout_s: float,
    cache_dir: Path | None,
    pool: CompilePool | None,
) -> Iterator[tuple[GemmProblem, dict[_Key, tuple[Binary, ...] | Failed]]]:
    cache = BinaryCache(cache_dir or settings().cache_dir / "compiled")
    results: dict[str, Binary | Failed] = {}
    todo: dict[str, Source] = {}
    missing: dict[GemmProblem, set[str]] = {}
    for problem, by_config in kernels.items():
        missing[problem] = set()
        for source in (each for sources in by_config.values() if isinstance(sources, tuple) for each in sources):
            key = _key(source, target)
            if key not in todo and key not in results:
                cached = cache.read(key)
                if cached is not None:
                    results[key] = cached
                else:
                    todo[key] = source
            if key in todo:
                missing[problem].add(key)

    def ready() -> Iterator[tuple[GemmProblem, dict[_Key, tuple[Binary, ...] | Failed]]]:
        for problem in [problem for problem, keys in missing.items() if not keys]:
            del missing[problem]
            yield problem, {each: _binaries(sources, target, results) for each, sources in kernels[problem].items()}

    yield from ready()
    if not todo:
        return
    own = (
        contextlib.nullcontext(pool)
        if pool
        else CompilePool(workers=min(workers or cores(), len(todo)), timeout_s=timeout_s)
    )
    with own as running:
        keys = list(todo)
        jobs = [_job(todo[key], device, target) for key in keys]
        for index, answer in running.workers.run(jobs):
            key = keys[index]
            result = results[key] = _binary_or_failure(answer)
            if isinstance(result, Binary):
                cache.write(key, result)
            for unfinished in missing.values():
                unfinished.discard(key)
            yield from ready()


def _job(source: Source, device: DeviceSpec, target: Target) -> dict[str, Any]:
    if isinstance(source, TemplateSource):
        described = {**device.to_dict(), "fma": device.fma.to_dict()}
        return {"template": source.to_dict(), "target": asdict(target), "device": described}
    return {"source": source.to_dict(), "target": asdict(target)}


def _template_sources(problem: GemmProblem, config: GemmConfig) -> tuple[Source, ...]:
    if config.family != "tiled":
        raise ValueError(f"Inductor has no template of the family {config.family}")
    if importlib.util.find_spec("torch") is None:
        raise TorchMissingError("Inductor's templates come with PyTorch, which is not installed: pip install torch")
    return (TemplateSource(problem, config, installed_version("torch")),)


def _key(source: Source, target: Target) -> str:
    text = source_hash(source.module) if isinstance(source, KernelSource) else ""  # torch's version stands for it
    return binary_key(source, target, text, triton_version())


def _binary_or_failure(answer: dict[str, Any] | Lost) -> Binary | Failed:
    if isinstance(answer, Lost):
        return Failed(f"the compiler gave no result: {answer.reason}")
    if "error" in answer:
        return Failed(f"Triton refused it: {answer['error']}")
    return Binary.from_dict(answer)


def _sources_or_reason(sources: Callable[..., tuple[Source, ...]], *of: object) -> tuple[Source, ...] | Failed:
    try:
        return sources(*of)
    except ValueError as error:
        return Failed(str(error))


def _binaries(
    sources: tuple[Source, ...] | Failed, target: Target, results: Mapping[str, Binary | Failed]
) -> tuple[Binary, ...] | Failed:
    if isinstance(sources, Failed):
        return sources
    binaries: list[Binary] = []
    for source in sources:
        result = results[_key(source, target)]
        if isinstance(result, Failed):
            return result
        binaries.append(result)
    return tuple(binaries)


def _outcome(config: GemmConfig, binaries: tuple[Binary, ...] | Failed) -> Compiled | Failed:
    if isinstance(binaries, Failed):
        return binaries
    return Compiled(
        config=config,
        resources=binaries[0].resources,
        kernel_id=binaries[0].template.kernel_id if binaries[0].template else kernel_id(config.family),
        seconds=sum(binary.seconds for binary in binaries),
        binaries=binaries,
    )


def why_dropped(need: KernelResources, problem: GemmProblem, device: DeviceSpec) -> str | None:
    """Why a kernel of these resources is known bad before it runs, in a sentence; None where it is worth running."""
    limit = device.smem_per_block_optin_bytes
    if need.smem_bytes > limit:
        return f"it needs {need.smem_bytes} bytes of shared memory and a CTA may have {limit} on {device.name}"
    if need.tensor_core_instructions == 0 and tensor_core_rate(problem, device) > 0:
        return (
            f"Triton emits no tensor-core code for {problem.dtype} on compute capability "
            f"{device.compute_capability / 10:.1f}, and {device.name} has tensor cores for it that the library uses"
        )
    if need.spill_bytes > 0:
        return f"it spills {need.spill_bytes} bytes of registers per thread to memory"
    return None


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_triton() -> None:
    """Raises TritonMissingError where Triton is not installed. Does not import it."""
    if importlib.util.find_spec("triton") is None:
        raise TritonMissingError(
            "candidates are compiled by Triton, and it is not installed here; run: pip install triton"
        )


@cache
def triton_version() -> str:
    """The installed version, without importing Triton; empty where there is none."""
    return installed_version(*TRITON)
