"""The library's kernel, called on operands as the timer places them: here in memory of the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import gemm_tuner as gt
from gemm_tuner.aten import as_operands, compute
from gemm_tuner.placement import operands_of, placement
from gemm_tuner.sources import activation_of

_ENDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
}


def memory_of(problem: gt.GemmProblem) -> dict[str, torch.Tensor]:
    """Bytes of every operand: random numbers, as their dtype has them; poison where a result is expected."""
    torch.manual_seed(0)
    filled = {}
    for buffer in operands_of(problem):
        if buffer.fill == "poison":
            filled[buffer.name] = torch.full((buffer.bytes,), 0xFF, dtype=torch.uint8)
        elif buffer.fill in ("zeros", "ones_f32"):
            filled[buffer.name] = torch.full((buffer.bytes // 4,), float(buffer.fill != "zeros")).view(torch.uint8)
        else:
            dtype = getattr(torch, buffer.fill)
            values = torch.randint(-8, 9, (buffer.bytes // dtype.itemsize,)) if dtype == torch.int8 else None
            values = torch.rand(buffer.bytes // dtype.itemsize) * 2 - 1 if values is None else values
            filled[buffer.name] = values.to(dtype).view(torch.uint8)
    return filled


@pytest.mark.parametrize(
    "problem",
    [
        gt.GemmProblem(m=5, n=7, k=9, dtype="float32", layout="nn"),
        gt.GemmProblem(m=16, n=24, k=32, dtype="float16", layout="nt", epilogue="relu"),
        gt.GemmProblem(m=16, n=24, k=32, dtype="bfloat16", layout="tn", epilogue="bias+gelu"),
        gt.GemmProblem(op="addmm", m=16, n=24, k=32, dtype="float32", layout="tt", epilogue="silu"),
        gt.GemmProblem(m=16, n=24, k=32, dtype="float32", epilogue="residual"),
        gt.GemmProblem(op="bmm", batch=3, m=16, n=24, k=32, dtype="float32", epilogue="residual"),
        gt.GemmProblem(m=16, n=24, k=32, dtype="bfloat16", epilogue="bias+relu+residual"),
        gt.GemmProblem(op="bmm", batch=3, m=5, n=7, k=9, dtype="float32", layout="nt", alignment=1),
        gt.GemmProblem(op="baddbmm", batch=3, m=16, n=8, k=32, dtype="float16", epilogue="gelu_tanh"),
        gt.GemmProblem(op="mm_plus_mm", m=16, n=24, k=32, dtype="float32"),
        gt.GemmProblem(op="int_mm", m=32, n=24, k=16, dtype="int8", layout="nt"),
        gt.GemmProblem(
            op="scaled_mm", scaling="row", m=32, n=24, k=16, dtype="int8", layout="nt", epilogue="bias+gelu+residual"
        ),
    ],
    ids=str,
)
def test_it_computes_the_problem(problem: gt.GemmProblem) -> None:
    operands = as_operands(problem, memory_of(problem))
    place = placement(problem)
    assert operands["a"].stride()[-2:] == place.a_strides[1:] and operands["b"].stride()[-2:] == place.b_strides[1:]
    expected = operands["a"].double() @ operands["b"].double()
    if problem.op == "mm_plus_mm":
        expected += operands["a2"].double() @ operands["b2"].double()
    if "scale_a" in operands:
        expected *= operands["scale_a"].double() * operands["scale_b"].double()
    if "bias" in operands:
        expected += operands["bias"].double()
    for word, ending in _ENDINGS.items():
        if activation_of(problem) == word:
            expected = ending(expected)
    if "residual" in operands:
        expected += operands["residual"].double()
    compute(problem, operands)
    assert operands["c"].dtype == getattr(torch, problem.out_dtype)
    torch.testing.assert_close(operands["c"].double(), expected, rtol=2e-2, atol=2e-2)
