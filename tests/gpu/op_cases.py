"""Calls of the op for which a record names a kernel family, and such records."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

import gemm_tuner as gt
from gemm_tuner.compile import compile_problems
from gemm_tuner.records import Fingerprint, Record
from gemm_tuner.sources import FAMILIES, kernel_id
from gemm_tuner.tuning import present_versions

LAYOUTS = ("nn", "nt", "tn", "tt")
DTYPES = ("float16", "bfloat16", "float32", "tf32")  # the last: float32 where torch allows TF32
# the first adds up in int32, the others come with scales, the last has an A of float8_e4m3fn and a B of float8_e5m2
QUANTIZED_DTYPES = ("int8", "scaled_int8", "float8_e4m3fn", "float8_e5m2", "float8_mixed")
_OPERANDS = {
    "tf32": ("float32", "float32"),
    "scaled_int8": ("int8", "int8"),
    "float8_mixed": ("float8_e4m3fn", "float8_e5m2"),
}
PREDICTED_US = 1.0  # of records that are there to name a kernel: nobody has timed it
_TILE = gt.GemmConfig(block_m=32, block_n=32, block_k=32, num_warps=4, num_stages=3)
CONFIGS = {
    "tiled": _TILE,
    "split_k": _TILE.replace(family="split_k", split_k=3),
    "stream_k": _TILE.replace(family="stream_k", ctas=5),
    "persistent": _TILE.replace(family="persistent", ctas=5),
    "persistent_tma": _TILE.replace(family="persistent_tma", ctas=5),
}
_ROWS_OF_BYTES = 64  # of a tile whose elements are a byte wide: as many as Hopper's warp groups multiply
_STEP_OF_FLOAT32 = 16  # along k: on the CUDA cores its operands stand in registers, of which there are few


@dataclass(frozen=True)
class Variety:
    """What a call has besides its family, dtype and layout. batch: 0 for matrices.

    lies: how the operands lie in memory. "padded": rows are longer, and begin farther in; "scattered": every other
    element of a row, which no layout describes; "a_shared", "b_shared": one matrix for the whole batch.
    scaling: tensor or row, where there are scales. out: the result's dtype, where it is not the operands'.
    """

    m: int
    n: int
    k: int
    batch: int = 0
    lies: str = "tight"
    has_bias: bool = False
    activation: str = "none"
    has_residual: bool = False
    scaling: str = "none"
    out: str = ""

    def __str__(self) -> str:
        batch = f"{self.batch}x" if self.batch else ""
        words = (self.scaling, "bias" * self.has_bias, self.activation, "residual" * self.has_residual, self.out)
        ending = [self.lies, *(word for word in words if word not in ("", "none"))]
        return f"{batch}{self.m}x{self.n}x{self.k}-{'-'.join(ending)}"


VARIETIES = (
    Variety(192, 136, 264, has_bias=True, activation="gelu"),
    Variety(200, 264, 520, lies="padded", activation="relu"),
    Variety(77, 91, 131, has_bias=True, activation="silu"),  # divided by nothing
    Variety(72, 40, 136, batch=3, has_bias=True, activation="gelu_tanh"),
    Variety(33, 65, 97, lies="padded"),
    Variety(67, 45, 101, batch=5),
    Variety(1, 136, 264),
    Variety(136, 1, 264, has_bias=True),
    Variety(56, 48, 104, lies="scattered"),
    Variety(104, 72, 136, has_residual=True),
    Variety(61, 83, 109, lies="padded", has_bias=True, activation="gelu_tanh", has_residual=True),
    Variety(40, 72, 104, batch=4, lies="b_shared", has_bias=True),
    Variety(64, 24, 136, batch=2, lies="a_shared", activation="silu", has_residual=True),
)
# likewise, of operands with scales; by tensor and by row in turn, also of those that a copy engine can fetch
QUANTIZED = (
    Variety(176, 144, 272, has_bias=True, scaling="tensor", out="bfloat16"),
    Variety(160, 208, 528, lies="padded", scaling="row", out="float16"),
    Variety(77, 91, 131, has_bias=True, scaling="tensor", out="float32"),
    Variety(99, 65, 197, lies="padded", has_bias=True, scaling="row", out="bfloat16"),
    Variety(80, 48, 144, lies="scattered", scaling="tensor", out="float16"),
    Variety(1, 144, 272, scaling="row", out="float32"),
    Variety(136, 1, 264, has_bias=True, scaling="tensor", out="float16"),
    Variety(96, 112, 208, has_bias=True, scaling="row", out="float32"),
)


@dataclass(frozen=True)
class Case:
    """One call of the op, and the family that is to answer it."""

    family: str
    dtype: str
    layout: str
    variety: Variety

    def __str__(self) -> str:
        return f"{self.family}-{self.dtype}-{self.layout}-{self.variety}"

    @property
    def dtypes(self) -> tuple[torch.dtype, torch.dtype]:
        """Of A and of B."""
        one, other = _OPERANDS.get(self.dtype, (self.dtype, self.dtype))
        return getattr(torch, one), getattr(torch, other)

    @property
    def out_dtype(self) -> torch.dtype:
        """Of the result, and of what is added to it."""
        made: torch.dtype = getattr(torch, self.variety.out) if self.variety.out else self.dtypes[0]
        return made

    @property
    def config(self) -> gt.GemmConfig:
        """What a record is to name for it."""
        of_family = CONFIGS[self.family]
        if self.dtypes[0].itemsize == 1:
            return of_family.replace(block_m=_ROWS_OF_BYTES)
        return of_family.replace(block_k=_STEP_OF_FLOAT32) if self.dtype == "float32" else of_family


def cases(*, every: bool) -> list[Case]:
    """Every family, dtype and layout, each with one variety, the next one in turn; with all of them where `every`.

    Of quantised operands two layouts each, one scaled by tensor and one by row; all of them where `every`.
    """
    products = list(itertools.product(FAMILIES, DTYPES, LAYOUTS))
    quantized = list(itertools.product(FAMILIES, QUANTIZED_DTYPES, LAYOUTS))
    if every:
        return [
            *(Case(*product, variety) for product in products for variety in VARIETIES),
            *(_quantized(*product, variety) for product in quantized for variety in QUANTIZED),
        ]
    return [
        *(Case(*product, _in_turn(VARIETIES, index, product[0], 8)) for index, product in enumerate(products)),
        *(
            _quantized(
                family, dtype, LAYOUTS[(i + j + turn) % 4], _in_turn(QUANTIZED, 2 * (5 * i + j) + turn, family, 16)
            )
            for i, family in enumerate(FAMILIES)
            for j, dtype in enumerate(QUANTIZED_DTYPES)
            for turn in (0, 1)
        ),
    ]


def takes(family: str, variety: Variety, aligned: int = 8) -> bool:
    """Can the family walk such operands? The copy engine wants rows that begin at multiples of 16 bytes, which are as
    many elements as `aligned`."""
    return family != "persistent_tma" or all(size % aligned == 0 for size in (variety.m, variety.n, variety.k))


def _in_turn(varieties: tuple[Variety, ...], index: int, family: str, aligned: int) -> Variety:
    taken = [each for each in varieties if takes(family, each, aligned)]
    return taken[index % len(taken)]


def _quantized(family: str, dtype: str, layout: str, variety: Variety) -> Case:
    if dtype == "int8":
        variety = replace(variety, has_bias=False, scaling="none", out="int32")
    return Case(family, dtype, layout, variety)


def naming(problems: Iterable[gt.GemmProblem], config: gt.GemmConfig, spec: gt.DeviceSpec) -> list[Record]:
    """Records that name the config for each problem. They say that they are predicted, and nobody timed anything."""
    return [
        Record(
            device=Fingerprint.of(spec),
            problem=problem,
            choice=config,
            kernel=kernel_id(config.family),
            latency_us=PREDICTED_US,
            basis="predicted",
            kind="winner",
            versions=present_versions(spec),
        )
        for problem in problems
    ]


def compile_ahead(wanted: Sequence[tuple[gt.GemmProblem, gt.GemmConfig]], spec: gt.DeviceSpec) -> None:
    """Compiles side by side, into the cache, what the op would compile one after the other."""
    of: dict[gt.GemmProblem, list[gt.GemmConfig]] = {}
    for problem, config in wanted:
        if gt.why_illegal(problem, config, spec) is None and config not in of.setdefault(problem, []):
            of[problem].append(config)
    for _ in compile_problems(of, spec, kernel="gemm_tuner"):
        pass


def varied(case: Case, **changes: Any) -> Case:
    """The case with another variety of its own."""
    return replace(case, variety=replace(case.variety, **changes))


def each_family(dtype: str = "float16", layout: str = "nt", variety: Variety = VARIETIES[0]) -> list[Case]:
    """One call for each family."""
    return [Case(family, dtype, layout, variety) for family in FAMILIES]
