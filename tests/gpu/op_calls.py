"""The call of an op that a case asks for: its operands, their problem, and what float64 says of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

import gemm_tuner as gt
from gemm_tuner.checking import tolerance
from gemm_tuner.operand import Operand, product_of
from gemm_tuner.recorder import dtype_word, precision_of
from gpu.op_cases import Case, Variety

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
}
PADDING = 16  # elements: of every dtype a multiple of 16 bytes, which keeps the alignment

Operands = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]


def operands(case: Case, device: str) -> Operands:
    """A, B and the bias: numbers between -1 and 1, for which tolerances are made; the same every time."""
    given, draw = case.variety, torch.Generator().manual_seed(case.variety.m + case.variety.k)
    a_dtype, b_dtype = case.dtypes

    def stored(rows: int, columns: int, side: str, dtype: torch.dtype, lies: str) -> torch.Tensor:
        shape = (*front_of(given), *((rows, columns) if side == "n" else (columns, rows)))
        made = lain(_drawn(shape, dtype, draw, is_exact=case.dtype == "int8").to(device), lies)
        return made if side == "n" else made.mT

    bias = _drawn((given.n,), case.out_dtype, draw).to(device) if given.has_bias else None
    a_lies = "tight" if given.lies == "b_shared" else given.lies
    b_lies = "tight" if given.lies == "a_shared" else given.lies
    a = stored(given.m, given.k, case.layout[0], a_dtype, a_lies)
    return a, stored(given.k, given.n, case.layout[1], b_dtype, b_lies), bias


def front_of(variety: Variety) -> tuple[int, ...]:
    """The dimensions before rows and columns."""
    return (variety.batch,) if variety.batch else ()


def _drawn(
    shape: tuple[int, ...], dtype: torch.dtype, draw: torch.Generator, *, is_exact: bool = False
) -> torch.Tensor:
    if dtype != torch.int8:
        return (torch.rand(shape, generator=draw) * 2 - 1).to(dtype)
    low, high = (-128, 127) if is_exact else (-8, 8)
    return torch.randint(low, high + 1, shape, generator=draw, dtype=torch.int8)


def residual_of(case: Case, device: str) -> torch.Tensor | None:
    """What is added last, lying as the operands do."""
    given, draw = case.variety, torch.Generator().manual_seed(case.variety.n)
    if not given.has_residual:
        return None
    made = _drawn((*front_of(given), given.m, given.n), case.out_dtype, draw).to(device)
    return made if given.batch else lain(made, given.lies)


def scales_of(case: Case, device: str) -> tuple[torch.Tensor, ...]:
    """Those of A and of B, from 0.5 to 1, for which tolerances hold; none where the product has none."""
    given, draw = case.variety, torch.Generator().manual_seed(case.variety.k)
    if given.scaling == "none":
        return ()
    shapes = ((given.m, 1), (1, given.n)) if given.scaling == "row" else ((), ())
    return tuple((torch.rand(shape, generator=draw) / 2 + 0.5).to(device) for shape in shapes)


def lain(matrix: torch.Tensor, how: str) -> torch.Tensor:
    """The same row-major matrices lying so, the first for all of them where it is shared; what lies between their
    elements is NaN, or the largest of integers."""
    *front, rows, columns = matrix.shape
    nothing = torch.nan if matrix.is_floating_point() else torch.iinfo(matrix.dtype).max
    if how == "padded":
        wide = matrix.new_full((*front, rows, columns + 2 * PADDING), nothing)
        inside = wide[..., PADDING : columns + PADDING]
    elif how == "scattered":
        wide = matrix.new_full((*front, rows, 2 * columns), nothing)
        inside = wide[..., ::2]
    elif how in ("a_shared", "b_shared"):
        return matrix[:1].clone().expand_as(matrix)
    else:
        return matrix
    inside.copy_(matrix)
    return inside


def problem_of(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str = "none",
    *,
    residual: torch.Tensor | None = None,
    scales: Sequence[torch.Tensor] = (),
    out_dtype: torch.dtype | None = None,
) -> gt.GemmProblem:
    """The problem that the op derives from these operands."""
    one, other = (
        Operand(each.shape, each.stride(), int(each.storage_offset()), dtype_word(each.dtype)) for each in (a, b)
    )
    words = [*[activation] * (activation != "none"), *["residual"] * (residual is not None)]
    if scales or a.dtype == torch.int8:
        op = "scaled_mm" if scales else "int_mm"
        words = ["bias"] * (bias is not None)
    elif a.dim() == 2:
        op = "mm" if bias is None else "addmm"
    else:
        op = "bmm" if bias is None else "baddbmm"
    return product_of(
        op,
        one,
        other,
        out_dtype=dtype_word(out_dtype or a.dtype),
        precision=precision_of(a.dtype),
        scales=(scales[0].numel(), scales[1].numel()) if scales else (1, 1),
        epilogue="+".join(words) or "none",
    )


def in_float64(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str = "none",
    *,
    residual: torch.Tensor | None = None,
    scales: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    """What the call should give."""
    product = a.double() @ b.double()
    for scale in scales:
        product = product * scale.double()
    ended = ACTIVATIONS[activation](product if bias is None else product + bias.double())
    return ended if residual is None else ended + residual.double()


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


@dataclass(frozen=True)
class Call:
    """A case with its operands. scales: of A and of B, or none."""

    case: Case
    a: torch.Tensor
    b: torch.Tensor
    bias: torch.Tensor | None
    residual: torch.Tensor | None
    scales: tuple[torch.Tensor, ...]

    @staticmethod
    def of(case: Case, device: str) -> Call:
        """The same every time."""
        return Call(case, *operands(case, device), residual_of(case, device), scales_of(case, device))

    @property
    def operands(self) -> Operands:
        """A, B and the bias."""
        return self.a, self.b, self.bias

    @property
    def problem(self) -> gt.GemmProblem:
        """What the op makes of it, under torch's present settings."""
        return problem_of(
            *self.operands,
            self.case.variety.activation,
            residual=self.residual,
            scales=self.scales,
            out_dtype=self.case.out_dtype,
        )

    def result(self) -> torch.Tensor:
        """What the op gives."""
        if self.scales:
            scale_a, scale_b = self.scales
            return gt.scaled_mm(self.a, self.b, scale_a, scale_b, self.bias, self.case.out_dtype)
        if self.a.dtype == torch.int8:
            return gt.int_mm(self.a, self.b)
        return gt.matmul(*self.operands, self.case.variety.activation, self.residual)

    def wanted(self) -> torch.Tensor:
        """What it should give, in float64, computed on the host: by no kernel that is tested, nor any other's."""
        a, b, bias, residual = (each if each is None else each.cpu() for each in (*self.operands, self.residual))
        assert a is not None and b is not None
        scales = [each.cpu() for each in self.scales]
        return in_float64(a, b, bias, self.case.variety.activation, residual=residual, scales=scales)
