"""Calls of the op for which a record names a kernel family: operands, records, and what float64 says of the result."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

import gemm_tuner as gt
from gemm_tuner.checking import tolerance
from gemm_tuner.compile import compile_problems
from gemm_tuner.operand import Operand, product_of
from gemm_tuner.recorder import dtype_word, precision_of
from gemm_tuner.records import Fingerprint, Record
from gemm_tuner.sources import FAMILIES, kernel_id
from gemm_tuner.tuning import present_versions

LAYOUTS = ("nn", "nt", "tn", "tt")
DTYPES = ("float16", "bfloat16", "float32", "tf32")  # the last: float32 where torch allows TF32
PREDICTED_US = 1.0  # of records that are there to name a kernel: nobody has timed it
_TILE = gt.GemmConfig(block_m=32, block_n=32, block_k=32, num_warps=4, num_stages=3)
CONFIGS = {
    "tiled": _TILE,
    "split_k": _TILE.replace(family="split_k", split_k=3),
    "stream_k": _TILE.replace(family="stream_k", ctas=5),
    "persistent": _TILE.replace(family="persistent", ctas=5),
    "persistent_tma": _TILE.replace(family="persistent_tma", ctas=5),
}
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
}


@dataclass(frozen=True)
class Variety:
    """What a call has besides its family, dtype and layout. batch: 0 for matrices.

    lies: how the operands lie in memory. "padded": rows are `PADDING` elements longer, and begin that far in;
    "scattered": every other element of a row, which no layout describes.
    """

    m: int
    n: int
    k: int
    batch: int = 0
    lies: str = "tight"
    has_bias: bool = False
    activation: str = "none"

    def __str__(self) -> str:
        batch = f"{self.batch}x" if self.batch else ""
        ending = [self.lies, *["bias"] * self.has_bias, *[self.activation] * (self.activation != "none")]
        return f"{batch}{self.m}x{self.n}x{self.k}-{'-'.join(ending)}"


PADDING = 8  # elements: of every dtype a multiple of 16 bytes, which keeps the alignment
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
    def torch_dtype(self) -> torch.dtype:
        made: torch.dtype = getattr(torch, "float32" if self.dtype == "tf32" else self.dtype)
        return made


def cases(*, every: bool) -> list[Case]:
    """Every family, dtype and layout, each with one variety, the next one in turn; with all of them where `every`."""
    products = list(itertools.product(FAMILIES, DTYPES, LAYOUTS))
    if every:
        return [Case(*product, variety) for product in products for variety in VARIETIES]
    return [Case(*product, _in_turn(index, product[0])) for index, product in enumerate(products)]


def _in_turn(index: int, family: str) -> Variety:
    # the copy engine wants rows that begin at multiples of 16 bytes, and fetches no batches
    of = [each for each in VARIETIES if each.m % 8 == each.n % 8 == each.k % 8 == each.batch == 0]
    varieties = of if family == "persistent_tma" else VARIETIES
    return varieties[index % len(varieties)]


Operands = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]


def operands(case: Case, device: str) -> Operands:
    """A, B and the bias: numbers between -1 and 1, for which tolerances are made; the same every time."""
    given, draw = case.variety, torch.Generator().manual_seed(case.variety.m + case.variety.k)
    front = (given.batch,) if given.batch else ()

    def stored(rows: int, columns: int, side: str) -> torch.Tensor:
        shape = (*front, rows, columns) if side == "n" else (*front, columns, rows)
        made = lain((torch.rand(shape, generator=draw) * 2 - 1).to(device, case.torch_dtype), given.lies)
        return made if side == "n" else made.mT

    bias = (torch.rand(given.n, generator=draw) * 2 - 1).to(device, case.torch_dtype) if given.has_bias else None
    a, b = stored(given.m, given.k, case.layout[0]), stored(given.k, given.n, case.layout[1])
    return a, b, bias


def lain(matrix: torch.Tensor, how: str) -> torch.Tensor:
    """The same row-major matrices lying so; what lies between their elements is NaN."""
    *front, rows, columns = matrix.shape
    if how == "padded":
        wide = matrix.new_full((*front, rows, columns + 2 * PADDING), torch.nan)
        inside = wide[..., PADDING : columns + PADDING]
    elif how == "scattered":
        wide = matrix.new_full((*front, rows, 2 * columns), torch.nan)
        inside = wide[..., ::2]
    else:
        return matrix
    inside.copy_(matrix)
    return inside


def problem_of(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, activation: str = "none"
) -> gt.GemmProblem:
    """The problem that the op derives from these operands."""
    word = dtype_word(a.dtype)
    one, other = (Operand(each.shape, each.stride(), int(each.storage_offset()), word) for each in (a, b))
    plain, added = ("mm", "addmm") if a.dim() == 2 else ("bmm", "baddbmm")
    return product_of(
        plain if bias is None else added,
        one,
        other,
        out_dtype=word,
        precision=precision_of(a.dtype),
        epilogue=activation,
    )  # fmt: skip


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


def in_float64(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None, activation: str = "none"
) -> torch.Tensor:
    """What the call should give."""
    product = a.double() @ b.double()
    return ACTIVATIONS[activation](product if bias is None else product + bias.double())


def assert_close(got: torch.Tensor, want: torch.Tensor, problem: gt.GemmProblem, what: object = "") -> None:
    """Raises AssertionError, naming the problem, where a result is farther off than a right kernel's can be."""
    assert got.shape == want.shape, f"{what} {problem}: the shape is {tuple(got.shape)}, not {tuple(want.shape)}"
    allowed = tolerance(problem)
    off = (got.double() - want).abs() - (allowed.absolute + allowed.relative * want.abs())
    wrong = int((~(off <= 0)).sum().item())  # NaN is wrong, too
    assert wrong == 0, (
        f"{what} {problem}: {wrong} of {want.numel()} elements are wrong, the worst by {off.max().item():.3g} beyond "
        f"{allowed}"
    )


def varied(case: Case, **changes: Any) -> Case:
    """The case with another variety of its own."""
    return replace(case, variety=replace(case.variety, **changes))


def each_family(dtype: str = "float16", layout: str = "nt", variety: Variety = VARIETIES[0]) -> list[Case]:
    """One call for each family."""
    return [Case(family, dtype, layout, variety) for family in FAMILIES]
