"""What the driver needs to launch a compiled candidate: grids, and arguments in order. Pure functions over values.

After a kernel's own parameters Triton expects two pointers, global scratch and profile scratch, always. Who launches it
puts memory in the first one's place where the compiler wants some.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ._core import GemmProblem
from .binary_cache import Binary
from .checking import check_grids, check_sources, tolerance
from .compile import Compiled
from .placement import Placement, operands_of, placement
from .sources import KernelSource, grids, kernel_sources

# The address of an operand by its name, an integer with its type ("i32" or "i64"), or a null pointer.
Argument = str | tuple[str, int] | None
_SCRATCH: tuple[Argument, ...] = (None, None)


@dataclass(frozen=True)
class Launch:
    """One kernel to launch: CTAs in the grid, warps and bytes of dynamic shared memory of each, arguments in order."""

    cubin: bytes = field(repr=False)
    entry: str
    grid: tuple[int, int, int]
    num_warps: int
    smem_bytes: int
    arguments: tuple[Argument, ...]
    global_scratch_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "cubin": base64.b64encode(self.cubin).decode()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Launch:
        """The inverse of to_dict, also after JSON has made lists of tuples."""
        arguments = tuple(tuple(each) if isinstance(each, list) else each for each in values["arguments"])
        changed = {"cubin": base64.b64decode(values["cubin"]), "grid": tuple(values["grid"]), "arguments": arguments}
        return Launch(**{**values, **changed})


def launches_of(problem: GemmProblem, compiled: Compiled, place: Placement | None = None) -> tuple[Launch, ...]:
    """The launches that compute the problem, in order, on operands that lie as `placement` says, or at `place`.

    Templates of Inductor's are for the former alone.
    """
    templates = [(binary, binary.template) for binary in compiled.binaries if binary.template]
    if templates:
        return tuple(_launch(binary, template.grid, template.operands) for binary, template in templates)
    sources = kernel_sources(problem, compiled.config)
    return _launches(problem, sources, grids(problem, compiled.config), compiled.binaries, place)


def check_launches(problem: GemmProblem, binaries: Sequence[Binary]) -> tuple[Launch, Launch]:
    """The launches of `check_sources`, as compiled: the first writes `expected`, the second `verdict`."""
    reference, compare = _launches(problem, check_sources(problem), check_grids(problem), binaries)
    return reference, compare


def arguments_of(problem: GemmProblem, source: KernelSource, place: Placement | None = None) -> tuple[Argument, ...]:
    """What fills the launch parameters of one kernel of this package, scratch memory aside; see `launches_of`."""
    operands = {buffer.name for buffer in operands_of(problem, parts_bytes=1)}
    integers = _integers(problem, place or placement(problem))

    def argument(name: str, kind: str) -> Argument:
        if not kind.startswith("*"):
            return kind, integers[name]
        return name if name in operands else None  # a pointer that the kernel never follows

    return tuple(argument(*parameter) for parameter in source.signature)


def _launches(
    problem: GemmProblem,
    sources: Sequence[KernelSource],
    launch_grids: Sequence[tuple[int, int, int]],
    binaries: Sequence[Binary],
    place: Placement | None = None,
) -> tuple[Launch, ...]:
    return tuple(
        _launch(binary, grid, arguments_of(problem, source, place))
        for source, grid, binary in zip(sources, launch_grids, binaries, strict=True)
    )


def _launch(binary: Binary, grid: tuple[int, int, int], arguments: Sequence[Argument]) -> Launch:
    return Launch(
        cubin=binary.cubin,
        entry=binary.entry,
        grid=grid,
        num_warps=binary.num_warps,
        smem_bytes=binary.resources.smem_bytes,
        arguments=(*arguments, *_SCRATCH),
        global_scratch_bytes=binary.global_scratch_bytes,
    )


def _integers(problem: GemmProblem, place: Placement) -> dict[str, int]:
    """Every integer that a kernel of this package takes, by the name of its parameter."""
    allowed = tolerance(problem)
    return {
        "m": problem.m,
        "n": problem.n,
        "k": problem.k,
        "batch": problem.batch,
        "a_pitch": place.a_pitch,
        "b_pitch": place.b_pitch,
        "c_pitch": problem.n,
        "a_batch_stride": place.a_strides[0],
        "b_batch_stride": place.b_strides[0],
        "c_batch_stride": problem.m * problem.n,
        "a_row_stride": place.a_strides[1],
        "a_k_stride": place.a_strides[2],
        "b_k_stride": place.b_strides[1],
        "b_column_stride": place.b_strides[2],
        "count": problem.batch * problem.m * problem.n,
        "absolute": _float_bits(allowed.absolute),
        "relative": _float_bits(allowed.relative),
    }


def _float_bits(value: float) -> int:
    bits: int = struct.unpack("<i", struct.pack("<f", value))[0]
    return bits
