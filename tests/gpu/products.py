"""Products to compute on a GPU: operands for a problem, the torch function it stands for, what float32 says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

import gemm_tuner as gt

# Of results about 1 in size: rounding of operands (TF32) and result, and of the sum before a bias is added.
TOLERANCE = {"float16": 5e-3, "bfloat16": 3e-2, "float32": 1e-4, "tf32": 1e-2, "float8_e4m3fn": 5e-2, "int8": 0.0}

Operands = tuple[torch.Tensor, ...]
_COMPUTE: dict[str, Callable[..., torch.Tensor]] = {
    "mm": torch.mm,
    "addmm": torch.addmm,
    "bmm": torch.bmm,
    "baddbmm": torch.baddbmm,
    "mm_plus_mm": lambda a, b, c, d: a @ b + c @ d,
    "int_mm": torch._int_mm,
    "scaled_mm": lambda a, b, scale_a, scale_b: torch._scaled_mm(
        a, b, scale_a=scale_a, scale_b=scale_b, out_dtype=torch.bfloat16
    ),
}


def operands(problem: gt.GemmProblem, device: str) -> Operands:
    """What the function of the problem's op is called with: contiguous as the layout says, results about 1 in size."""
    draw = torch.Generator().manual_seed(problem.m * 31 + problem.n * 17 + problem.k)
    dtype = getattr(torch, problem.a_dtype)
    batch = (problem.batch,) if problem.op in ("bmm", "baddbmm") else ()

    def stored(rows: int, columns: int, side: str) -> torch.Tensor:
        shape = (*batch, rows, columns) if side == "n" else (*batch, columns, rows)
        if dtype == torch.int8:
            made = torch.randint(-8, 8, shape, generator=draw).to(dtype)
        else:
            made = (torch.randn(shape, generator=draw) * problem.k**-0.25).to(dtype)
        moved = made.to(device)
        return moved if side == "n" else moved.mT

    def pair() -> Operands:
        m, n, k = problem.m, problem.n, problem.k
        return stored(m, k, problem.layout[0]), stored(k, n, problem.layout[1])

    if problem.op == "addmm":
        return (torch.randn(problem.n, generator=draw).to(device, dtype), *pair())
    if problem.op == "baddbmm":
        return (torch.randn(*batch, problem.m, problem.n, generator=draw).to(device, dtype), *pair())
    if problem.op == "mm_plus_mm":
        return (*pair(), *pair())
    if problem.op == "scaled_mm":
        return (*pair(), torch.tensor(0.5, device=device), torch.tensor(2.0, device=device))
    return pair()


def together(problems: Sequence[gt.GemmProblem]) -> Callable[..., list[torch.Tensor]]:
    """One function of all operands that computes every product: to compile them all at once."""
    steps = [_COMPUTE[problem.op] for problem in problems]

    def run(*each: Operands) -> list[torch.Tensor]:
        return [step(*given) for step, given in zip(steps, each, strict=True)]

    return run


def in_float32(problem: gt.GemmProblem, given: Operands) -> torch.Tensor:
    """The result that eager torch computes from the same operands in float32 (IEEE); integers exactly, in float64."""
    if problem.op == "int_mm":
        exact: torch.Tensor = given[0].double() @ given[1].double()
        return exact
    wide = [operand.float() for operand in given]
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        if problem.op == "scaled_mm":
            a, b, scale_a, scale_b = wide
            scaled: torch.Tensor = (a * scale_a) @ (b * scale_b)
            return scaled
        return _COMPUTE[problem.op](*wide)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def tolerance(problem: gt.GemmProblem) -> float:
    """Both relative and absolute."""
    return TOLERANCE["tf32" if problem.precision == "tf32" else problem.a_dtype]


def assert_right(problem: gt.GemmProblem, result: torch.Tensor, given: Operands) -> None:
    """Raises AssertionError where the result is not the product, beyond what its dtype explains."""
    expected = in_float32(problem, given)
    assert result.dtype == getattr(torch, problem.out_dtype), str(problem)
    torch.testing.assert_close(
        result.to(expected.dtype),
        expected,
        rtol=tolerance(problem),
        atol=tolerance(problem),
        msg=lambda m: f"{problem}: {m}",
    )
