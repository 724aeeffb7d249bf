"""What results are checked with: right ones pass, each planted fault is found. In Triton's interpreter, without a GPU.

The interpreter must be chosen before triton is imported, so the module runs itself in a process of its own.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from in_interpreter import IN_INTERPRETER, passes_in_the_interpreter

pytest.importorskip("torch")
pytest.importorskip("triton")

if not IN_INTERPRETER:

    def test_in_the_interpreter() -> None:
        passes_in_the_interpreter(__file__, at_least=30)

else:
    sys.path.insert(0, str(Path(__file__).parent))

    from typing import NamedTuple

    import torch

    from gemm_tuner import GemmConfig, GemmProblem
    from gemm_tuner.checking import check_grids
    from interpreted import run, verdict_on

    # the interpreter computes with numpy, which warns of what the poison does and where exp gives an infinity
    pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

    CONFIG = GemmConfig(block_m=32, block_n=32, block_k=32)

    class Case(NamedTuple):
        problem: GemmProblem
        a: torch.Tensor
        b: torch.Tensor
        bias: torch.Tensor | None
        residual: torch.Tensor | None

        def result(self, config: GemmConfig = CONFIG) -> torch.Tensor:
            return run(self.problem, config, self.a, self.b, bias=self.bias, residual=self.residual)

        def verdict(self, c: torch.Tensor) -> tuple[int, float]:
            return self.compared(c)[:2]

        def compared(self, c: torch.Tensor) -> tuple[int, float, torch.Tensor]:
            return verdict_on(self.problem, c, self.a, self.b, bias=self.bias, residual=self.residual)

    def operand(*shape: int, dtype: str, seed: int) -> torch.Tensor:
        """As launches get them: between -1 and 1, int8 between -8 and 8."""
        generator = torch.Generator().manual_seed(seed)
        if dtype in ("int8", "int32"):
            return torch.randint(-8, 9, shape, generator=generator).to(getattr(torch, dtype))
        return (torch.rand(shape, generator=generator) * 2 - 1).to(getattr(torch, dtype))

    def case(problem: GemmProblem) -> Case:
        p = problem
        a_shape = (p.k, p.m) if p.layout[0] == "t" else (p.m, p.k)
        b_shape = (p.n, p.k) if p.layout[1] == "t" else (p.k, p.n)
        with_bias = p.op in ("addmm", "baddbmm") or "bias" in p.epilogue
        return Case(
            p,
            operand(p.batch, *a_shape, dtype=p.a_dtype, seed=1),
            operand(p.batch, *b_shape, dtype=p.b_dtype, seed=2),
            operand(p.n, dtype=p.out_dtype, seed=3) if with_bias else None,
            operand(p.batch, p.m, p.n, dtype=p.out_dtype, seed=6) if "residual" in p.epilogue else None,
        )

    PROBLEMS = [
        GemmProblem(m=70, n=90, k=130),
        GemmProblem(m=70, n=90, k=130, layout="tt", epilogue="bias+gelu"),
        GemmProblem(m=70, n=90, k=130, dtype="bfloat16", layout="nt", op="addmm"),
        GemmProblem(m=33, n=65, k=77, dtype="float32", layout="tn", epilogue="silu"),
        GemmProblem(m=33, n=65, k=77, dtype="float32", precision="tf32"),
        GemmProblem(m=33, n=40, k=40, op="baddbmm", batch=3, dtype="float32", epilogue="relu"),
        GemmProblem(m=40, n=24, k=96, op="bmm", batch=2, layout="nt", epilogue="residual"),
        GemmProblem(m=33, n=65, k=77, dtype="bfloat16", epilogue="bias+silu+residual"),
        GemmProblem(m=40, n=24, k=96, op="int_mm", dtype="int8", layout="nt", epilogue="bias+relu"),
        GemmProblem(m=40, n=24, k=96, op="scaled_mm", dtype="float8_e4m3fn", layout="nt", epilogue="bias"),
        GemmProblem(m=40, n=24, k=96, op="scaled_mm", dtype="int8", out_dtype="float16", layout="nt", epilogue="silu"),
        GemmProblem(m=40, n=24, k=96, op="scaled_mm", a_dtype="float8_e5m2", b_dtype="float8_e4m3fn", layout="nt"),
    ]
    every = pytest.mark.parametrize("problem", PROBLEMS, ids=str)

    @every
    @pytest.mark.parametrize("split_k", [1, 3])
    def test_right_results_pass(problem: GemmProblem, split_k: int) -> None:
        given = case(problem)
        wrong, error = given.verdict(
            given.result(CONFIG.replace(family="tiled") if split_k == 1 else GemmConfig(block_k=32, split_k=split_k))
        )
        assert wrong == 0
        assert math.isfinite(error)

    @every
    def test_the_reference_is_right(problem: GemmProblem) -> None:
        given = case(problem)
        _, _, expected = given.compared(given.result())
        wide = torch.int64 if problem.out_dtype == "int32" else torch.float64
        left = (given.a.transpose(1, 2) if problem.layout[0] == "t" else given.a).to(wide)
        right = (given.b.transpose(1, 2) if problem.layout[1] == "t" else given.b).to(wide)
        want = left @ right if given.bias is None else left @ right + given.bias.to(wide)
        functional = torch.nn.functional
        ending = problem.epilogue.removeprefix("bias+").removesuffix("+residual")
        want = {"relu": torch.relu, "gelu": functional.gelu, "silu": functional.silu}.get(ending, lambda x: x)(want)
        want = want if given.residual is None else want + given.residual.to(wide)
        torch.testing.assert_close(expected.to(wide), want, rtol=1e-5, atol=1e-5)

    @every
    def test_one_wrong_element_is_found(problem: GemmProblem) -> None:
        given = case(problem)
        for place in (0, 777, -1):
            c = given.result()
            c.view(-1)[place] += 1
            wrong, error = given.verdict(c)
            assert wrong == 1
            assert error == pytest.approx(1, abs=0.1)

    @every
    def test_a_poisoned_row_is_found(problem: GemmProblem) -> None:
        given = case(problem)
        c = given.result()
        poison = torch.full((problem.n * c.element_size(),), 0xFF, dtype=torch.uint8).view(c.dtype)
        c[-1, 5] = poison
        wrong, error = given.verdict(c)
        if problem.out_dtype == "int32":
            assert problem.n - 5 <= wrong <= problem.n  # -1 may be right
        else:
            assert wrong == problem.n
            assert error == math.inf

    @every
    def test_a_dropped_step_along_k_is_found(problem: GemmProblem) -> None:
        given = case(problem)
        a = given.a.clone()
        (a[:, 16:32, :] if problem.layout[0] == "t" else a[:, :, 16:32]).zero_()
        wrong, _ = given.verdict(given._replace(a=a).result())
        assert wrong > problem.batch * problem.m * problem.n / 4

    @pytest.mark.parametrize("problem", [p for p in PROBLEMS if case(p).bias is not None], ids=str)
    def test_a_missing_bias_is_found(problem: GemmProblem) -> None:
        given = case(problem)
        assert given.bias is not None
        wrong, _ = given.verdict(given._replace(bias=torch.zeros_like(given.bias)).result())
        assert wrong > problem.batch * problem.m * problem.n / 4

    @pytest.mark.parametrize("problem", [p for p in PROBLEMS if "residual" in p.epilogue], ids=str)
    def test_a_missing_residual_is_found(problem: GemmProblem) -> None:
        given = case(problem)
        assert given.residual is not None
        wrong, _ = given.verdict(given._replace(residual=torch.zeros_like(given.residual)).result())
        assert wrong > problem.batch * problem.m * problem.n / 4

    def test_more_matrices_than_a_grid_is_high() -> None:
        """Grids hold 65535 CTAs along all but their first axis."""
        many = GemmProblem(op="bmm", batch=70000, m=40, n=90, k=32)
        assert check_grids(many)[0] == (2 * 70000, 1, 1)

    @pytest.mark.parametrize("k", [1024, 16384])
    @pytest.mark.parametrize(("dtype", "precision"), [("float16", "ieee"), ("float32", "tf32"), ("float32", "ieee")])
    def test_a_step_is_found_among_many(k: int, dtype: str, precision: str) -> None:
        given = case(GemmProblem(m=16, n=16, k=k, dtype=dtype, precision=precision))
        config = CONFIG.replace(block_m=16, block_n=16, block_k=256)
        assert given.verdict(given.result(config))[0] == 0
        a = given.a.clone()
        a[:, :, 512:528] = 0
        assert given.verdict(given._replace(a=a).result(config))[0] > 16 * 16 / 2

    def test_the_sum_of_two_products() -> None:
        problem = GemmProblem(m=40, n=33, k=50, op="mm_plus_mm", dtype="float32")
        first, second = (
            case(problem),
            (operand(1, 40, 50, dtype="float32", seed=4), operand(1, 50, 33, dtype="float32", seed=5)),
        )
        right = first.a @ first.b + second[0] @ second[1]
        assert verdict_on(problem, right, first.a, first.b, second=second)[0] == 0
        assert verdict_on(problem, first.a @ first.b, first.a, first.b, second=second)[0] > 1000
