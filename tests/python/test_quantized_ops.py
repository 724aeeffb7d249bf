"""Integer and scaled products as ops: without any kernel of ours, and through them in Triton's interpreter.

The interpreter must be chosen before triton is imported, so the module runs a part of itself in a process of its own.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries only in part)
from __future__ import annotations

from collections.abc import Callable

import pytest

from in_interpreter import IN_INTERPRETER, passes_in_the_interpreter

pytest.importorskip("torch")

import torch

import gemm_tuner as gt
import gemm_tuner.quantized_ops  # registers the operators

Four = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
M, N, K = 40, 32, 64  # torch's shapes of float8 products are of multiples of 16, those of B


def drawn(*sizes: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.int8:
        return torch.randint(-128, 128, sizes, generator=generator, dtype=torch.int8)
    return torch.randn(sizes, generator=generator).to(dtype)


def operands(a_dtype: torch.dtype, b_dtype: torch.dtype, scaling: str) -> Four:
    """A, B as torch._scaled_mm wants it on a GPU, and their scales."""
    shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((M, 1), (1, N)) if scaling == "row" else ((), ())
    generator = torch.Generator().manual_seed(7)
    scale_a, scale_b = (torch.rand(shape, generator=generator) / 10 for shape in shapes)
    return drawn(M, K, dtype=a_dtype), drawn(N, K, dtype=b_dtype, seed=1).t(), scale_a, scale_b


def wanted(given: Four, bias: torch.Tensor | None) -> torch.Tensor:
    a, b, scale_a, scale_b = (each.double() for each in given)
    product = a @ b * scale_a * scale_b
    return product if bias is None else product + bias.double()


def close(got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype) -> None:
    assert got.dtype == dtype and got.shape == want.shape
    spacing = {torch.bfloat16: 2**-7, torch.float16: 2**-10, torch.float32: 2**-20}[dtype]
    assert (got.double() - want).abs().max() <= spacing * want.abs().max()


DTYPES = pytest.mark.parametrize("dtypes", [(E4M3, E4M3), (E4M3, E5M2), (torch.int8, torch.int8)], ids=str)
SCALINGS = pytest.mark.parametrize("scaling", ["tensor", "row"])

if not IN_INTERPRETER:

    def test_in_the_interpreter() -> None:
        pytest.importorskip("triton")
        passes_in_the_interpreter(__file__, at_least=12)

    def test_int_mm_passes_opcheck_and_is_exact() -> None:
        a, b = drawn(M, K, dtype=torch.int8), drawn(K, N, dtype=torch.int8, seed=1)
        torch.library.opcheck(torch.ops.gemm_tuner.int_mm.default, (a, b))
        assert torch.equal(gt.int_mm(a, b), (a.long() @ b.long()).int())

    @DTYPES
    @SCALINGS
    def test_scaled_mm_passes_opcheck_and_is_right(dtypes: tuple[torch.dtype, torch.dtype], scaling: str) -> None:
        given = operands(*dtypes, scaling)
        checks = ["test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
        if dtypes[0] == torch.int8:
            checks.append("test_schema")  # it computes with its operands, which nobody can with float8
        torch.library.opcheck(torch.ops.gemm_tuner.scaled_mm.default, given, test_utils=checks)
        close(gt.scaled_mm(*given), wanted(given, None), torch.bfloat16)
        bias = drawn(N, dtype=torch.float16, seed=2)
        close(gt.scaled_mm(*given, bias, torch.float16), wanted(given, bias), torch.float16)

    def test_torch_compile_sees_atens_operators() -> None:
        seen: list[str] = []

        def backend(module: torch.fx.GraphModule, _: object) -> Callable[..., object]:
            seen.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
            return module.forward

        from torch._dynamo.backends.common import aot_autograd

        given = operands(torch.int8, torch.int8, "row")
        for function in (lambda: gt.int_mm(*given[:2]), lambda: gt.scaled_mm(*given)):
            compiled = torch.compile(function, fullgraph=True, backend=aot_autograd(fw_compiler=backend))
            torch.testing.assert_close(compiled(), function())
        assert seen.count("aten._int_mm.default") == 2
        assert not any("gemm_tuner" in each for each in seen)

    @pytest.mark.parametrize(
        ("call", "says"),
        [
            (lambda i, f, s: gt.int_mm(i, i), r"mat1 and mat2 shapes cannot be multiplied \(2x3 and 2x3\)"),
            (lambda i, f, s: gt.int_mm(i, i[0]), r"must have 2 dimensions, got the shapes \[2, 3\] and \[3\]"),
            (lambda i, f, s: gt.int_mm(i, f.t()), "both operands must be int8, got torch.int8 and torch.float8_e4m3fn"),
            (lambda i, f, s: gt.int_mm(i, i.t().to("meta")), "on the same device, but got b is on meta"),
            (lambda i, f, s: gt.scaled_mm(i, f.t(), s, s), "must be float8 .* or int8, got torch.int8 and"),
            (lambda i, f, s: gt.scaled_mm(f, f.t(), s.double(), s), "scales must be float32, got torch.float64"),
            (lambda i, f, s: gt.scaled_mm(f, f.t(), s.expand(2, 1), s), r"or \[2, 1\] and \[1, 2\], got the shapes"),
            (lambda i, f, s: gt.scaled_mm(f, f.t(), s, s, s.expand(3)), r"a row of 2 elements, got the shape \[3\]"),
            (lambda i, f, s: gt.scaled_mm(i, i.t(), s, s, None, torch.int32), "out_dtype must be float16, bfloat16 or"),
        ],
    )
    def test_what_cannot_be_multiplied_is_told_in_torchs_words(call: Callable[..., torch.Tensor], says: str) -> None:
        integers = torch.ones(2, 3, dtype=torch.int8)
        with pytest.raises(RuntimeError, match=says):
            call(integers, integers.to(E4M3), torch.tensor(1.0))

else:
    from doubles.interpreted_op import tuned_on_cpu

    TILED = gt.GemmConfig(block_m=16, block_n=16, block_k=32, num_stages=2)
    CONFIGS = [TILED, TILED.replace(family="split_k", split_k=2), TILED.replace(family="persistent", ctas=3)]

    @pytest.mark.parametrize("config", CONFIGS, ids=str)
    def test_int_mm_runs_the_records_kernel(config: gt.GemmConfig) -> None:
        a, b = drawn(M, K, dtype=torch.int8), drawn(K, N, dtype=torch.int8, seed=1)
        wide = torch.zeros(M, 2 * K, dtype=torch.int8)
        wide[:, ::2] = a
        with tuned_on_cpu(config) as seen:
            for left in (a, wide[:, ::2], a.t().contiguous().t()):
                assert torch.equal(gt.int_mm(left, b), (a.long() @ b.long()).int())
        assert [(each.op, each.layout) for each in seen.problems] == [
            ("int_mm", layout) for layout in ("nn", "nn", "tn")
        ]

    @DTYPES
    @SCALINGS
    @pytest.mark.parametrize("config", CONFIGS[:2], ids=str)
    def test_scaled_mm_runs_the_records_kernel(
        config: gt.GemmConfig, dtypes: tuple[torch.dtype, torch.dtype], scaling: str
    ) -> None:
        given = operands(*dtypes, scaling)
        bias = drawn(2 * N, dtype=torch.float16, seed=2)[1::2]
        with tuned_on_cpu(config) as seen:
            close(gt.scaled_mm(*given), wanted(given, None), torch.bfloat16)
            close(gt.scaled_mm(*given, bias, torch.float16), wanted(given, bias), torch.float16)
        assert [each.epilogue for each in seen.problems] == ["none", "bias"]
        assert {(each.op, each.scaling, each.layout) for each in seen.problems} == {("scaled_mm", scaling, "nt")}

    def test_what_no_problem_describes_is_atens() -> None:
        given = operands(E4M3, E4M3, "tensor")
        with tuned_on_cpu(TILED) as seen:
            assert gt.int_mm(torch.ones(0, 8, dtype=torch.int8), torch.ones(8, 8, dtype=torch.int8)).shape == (0, 8)
            bias = drawn(N, dtype=torch.bfloat16, seed=2)
            close(gt.scaled_mm(*given, bias, torch.float32), wanted(given, bias), torch.float32)
        assert seen.problems == []

    def test_without_a_record_it_is_atens() -> None:
        with tuned_on_cpu() as seen:
            a = drawn(M, K, dtype=torch.int8)
            assert torch.equal(gt.int_mm(a, a.t()), (a.long() @ a.t().long()).int())
        assert seen.problems == []
