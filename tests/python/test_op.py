"""The op on a CPU without any kernel of ours: what torch and the user see of it, and that it is ATen's."""

# mypy: disable-error-code="no-untyped-call"
# (torch types autograd only in part)
from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

import gemm_tuner as gt
from gemm_tuner import ops
from gemm_tuner.arguments import ACTIVATIONS as FUNCTIONS

OP = torch.ops.gemm_tuner.matmul.default
ACTIVATIONS = list(FUNCTIONS)


def operands(*, dtype: torch.dtype = torch.float64, requires_grad: bool = True) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    a, b, bias = (torch.randn(shape, dtype=dtype) for shape in ((3, 4), (4, 5), (5,)))
    return tuple(each.requires_grad_(requires_grad) for each in (a, b, bias))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_passes_opcheck(activation: str) -> None:
    a, b, bias = operands()
    torch.library.opcheck(OP, (a, b, bias, activation))
    torch.library.opcheck(OP, (a.detach().expand(2, 3, 4), b.detach().expand(2, 4, 5), None, activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_every_order(activation: str) -> None:
    a, b, bias = operands()

    def function(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return gt.matmul(a, b, bias, activation)

    assert torch.autograd.gradcheck(function, (a + 0.1, b, bias))
    if activation != "relu":
        assert torch.autograd.gradgradcheck(function, (a, b, bias))


SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((2, 7, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (7, 4, 5)),
    ((4,), (2, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((2, 0, 4), (4, 5)),
    ((0, 3, 4), (0, 4, 5)),
]


@pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES)
def test_shapes_are_those_of_torch_matmul(a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    a, b, bias = torch.randn(a_shape), torch.randn(b_shape), torch.randn(5)
    torch.testing.assert_close(gt.matmul(a, b), torch.matmul(a, b))
    torch.testing.assert_close(gt.matmul(a, b, bias, "silu"), torch.nn.functional.silu(torch.matmul(a, b) + bias))


def test_on_meta_tensors_only_the_shape_is_told() -> None:
    out = gt.matmul(torch.empty(2, 3, 4, device="meta"), torch.empty(4, 5, device="meta"))
    assert (out.shape, out.device.type) == ((2, 3, 5), "meta")


def test_torch_compile_sees_products_that_inductor_tunes() -> None:
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch._aot_autograd.utils import make_boxed_func

    graphs: list[list[str]] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append([str(node.target) for node in graph.graph.nodes if node.op == "call_function"])
        boxed: Callable[..., object] = make_boxed_func(graph.forward)
        return boxed

    torch._dynamo.reset()
    backend = aot_autograd(fw_compiler=keep, bw_compiler=keep)
    compiled = torch.compile(lambda a, b, bias: gt.matmul(a, b, bias, "gelu").sum(), fullgraph=True, backend=backend)
    a, b, bias = operands()
    compiled(a, b, bias).backward()
    forward, backward = graphs
    assert "aten.addmm.default" in forward and "aten.gelu.default" in forward
    assert backward.count("aten.mm.default") == 2
    assert not any("gemm_tuner" in target for target in forward + backward)
    torch.testing.assert_close(a.grad, torch.autograd.grad(gt.matmul(a, b, bias, "gelu").sum(), a)[0])


def test_torch_compile_with_inductor_and_dynamic_sizes() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda a, b, bias: gt.matmul(a, b, bias, "relu"), fullgraph=True, dynamic=True)
    for rows in (3, 8):
        a, (_, b, bias) = torch.randn(2, rows, 4), operands(dtype=torch.float32, requires_grad=False)
        torch.testing.assert_close(compiled(a, b, bias), torch.relu(a @ b + bias))


class Layer(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return gt.matmul(a, b, bias, "gelu_tanh")


@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg", "ignore:At pre-dispatch tracing:UserWarning")
def test_export_keeps_the_op_and_takes_it_apart_when_asked() -> None:
    given = operands(requires_grad=False)
    exported = torch.export.export(Layer(), given)
    assert [node.target for node in exported.graph.nodes if node.op == "call_function"] == [OP]
    torch.testing.assert_close(exported.module()(*given), Layer()(*given))
    targets = [node.target for node in exported.run_decompositions().graph.nodes]
    assert torch.ops.aten.addmm.default in targets and OP not in targets


@pytest.mark.parametrize("in_dims", [(0, None), (None, 0), (0, 0), (1, 2)])
def test_vmap(in_dims: tuple[int | None, ...]) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    given = [
        each if dim is None else torch.stack([each, each + 1], dim=dim)
        for each, dim in zip((a, b), in_dims, strict=True)
    ]
    got = torch.vmap(lambda a, b: gt.matmul(a, b, activation="silu"), in_dims)(*given)
    want = [
        torch.nn.functional.silu((a + i * (in_dims[0] is not None)) @ (b + i * (in_dims[1] is not None)))
        for i in range(2)
    ]
    torch.testing.assert_close(got, torch.stack(want))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch, of its jacfwd
def test_torch_func_differentiates_it() -> None:
    a, b, bias = operands(requires_grad=False)
    ours, theirs = (
        (lambda a: gt.matmul(a, b, bias, "gelu").sum()),
        lambda a: torch.nn.functional.gelu(a @ b + bias).sum(),
    )
    for transform in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd, torch.func.hessian):
        torch.testing.assert_close(transform(ours)(a), transform(theirs)(a))
    per_sample = torch.vmap(torch.func.grad(ours))(torch.stack([a, a + 1]))
    torch.testing.assert_close(per_sample[1], torch.func.grad(theirs)(a + 1))


def test_autocast_casts_as_it_does_for_torch_mm() -> None:
    a, b, bias = operands(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out, want = gt.matmul(a, b, bias), torch.addmm(bias, a, b)
        assert out.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(out, want, rtol=0, atol=0)
    out.float().sum().backward()
    assert a.grad is not None and a.grad.dtype == torch.float32


def test_a_program_that_captures_it_gets_the_problems_of_torch() -> None:
    a, b, bias = (each.half() for each in operands(requires_grad=False))
    with gt.capture() as seen:
        gt.matmul(a, b, bias, "relu")
        gt.matmul(torch.stack([a, a]), b)
    with gt.capture() as torchs:
        torch.nn.functional.linear(a, b.t(), bias)
        torch.nn.functional.linear(torch.stack([a, a]), b.t())
    assert [each.problem for each in seen.problems] == [each.problem for each in torchs.problems]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            (torch.ones(2, 3), torch.ones(4, 5)),
            RuntimeError,
            r"mat1 and mat2 shapes cannot be multiplied \(2x3 and 4x5\)",
        ),
        ((torch.ones(2, 3), torch.ones(3)), RuntimeError, "2x3 and 3"),
        ((torch.ones(2, 3), torch.ones(3, 4), torch.ones(3)), RuntimeError, "a row of 4 elements, got the shape .3."),
        ((torch.ones(2, 3), torch.ones(3, 4), torch.ones(2, 4)), RuntimeError, "got the shape .2, 4."),
        ((torch.ones(2, 3), torch.ones(3, 4).half()), RuntimeError, "dtype"),
        (
            (torch.ones(2, 3), torch.ones(3, 4), None, "tanh"),
            ValueError,
            "none, relu, gelu, gelu_tanh, silu, got 'tanh'",
        ),
        (([1.0], torch.ones(3, 4)), AttributeError, "'list' object has no attribute 'dim'"),
    ],
)
def test_errors_are_torchs_own_or_sentences(arguments: tuple[Any, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        gt.matmul(*arguments)


def test_the_op_itself_wants_two_or_three_dimensions() -> None:
    with pytest.raises(RuntimeError, match="both operands must have 2 dimensions, or both 3, got 2x3x4 and 4x5"):
        OP(torch.ones(2, 3, 4), torch.ones(4, 5))
    with pytest.raises(RuntimeError, match="the same batch, got 2x3x4 and 3x4x5"):
        OP(torch.ones(2, 3, 4), torch.ones(3, 4, 5))


def test_a_cpu_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    ops._say_untuned.cache_clear()
    with caplog.at_level(logging.INFO, logger="gemm_tuner"):
        for _ in range(2):
            gt.matmul(torch.ones(2, 3), torch.ones(3, 4))
    assert [each.message for each in caplog.records] == [
        "products on a cpu run as ATen has them: gemm_tuner.matmul launches its own kernels on CUDA devices only"
    ]


def test_importing_the_package_does_not_import_torch() -> None:
    program = (
        "import sys, gemm_tuner as gt; assert 'torch' not in sys.modules; gt.matmul; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_graph_for_a_gpu_has_the_products_too() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    def targets() -> list[object]:
        graph = make_fx(lambda a, b: gt.matmul(a, b, activation="relu"))(a, b).graph
        return [node.target for node in graph.nodes if node.op == "call_function"]

    mm, relu = torch.ops.aten.mm.default, torch.ops.aten.relu.default
    with FakeTensorMode():
        a = torch.empty(3, 4, device="cuda", dtype=torch.float16)
        b = torch.empty(4, 5, device="cuda", dtype=torch.float16)
        assert [each for each in targets() if each in (OP, mm, relu)] == [mm, relu]
        with torch.inference_mode():
            assert [each for each in targets() if each in (OP, mm, relu)] == [mm, relu]
        assert OP(a, b).device.type == "cuda"
