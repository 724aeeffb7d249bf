import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemm_tuner as gt
from gemm_tuner.errors import TorchMissingError

torch = pytest.importorskip("torch")
functional = torch.nn.functional

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])
DEVICES = ["meta", "cpu", CUDA]


def ran(call, *args, **kwargs):
    """What `call` ran, as {text of the problem: count}."""
    with gt.capture() as seen:
        call(*args, **kwargs)
    assert seen.skipped == {}
    return texts(seen)


def texts(seen):
    return {str(counted.problem): counted.count for counted in seen.problems}


def meta(*shape, dtype=torch.bfloat16, **kwargs):
    return torch.empty(shape, dtype=dtype, device="meta", **kwargs)


def test_importing_gemm_tuner_loads_no_torch():
    code = "import sys, gemm_tuner; sys.exit('torch' in sys.modules or 'triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(TorchMissingError, match="torch is not installed"), gt.capture():
        pass


# How operands are stored


@settings(deadline=None)
@given(
    m=st.integers(2, 300),
    n=st.integers(2, 300),
    k=st.integers(2, 300),
    layout=st.sampled_from(["nn", "nt", "tn", "tt"]),
)
def test_contiguous_operands_give_the_alignment_that_the_core_derives(m, n, k, layout):
    a = meta(k, m).t() if layout[0] == "t" else meta(m, k)
    b = meta(n, k).t() if layout[1] == "t" else meta(k, n)
    with gt.capture() as seen:
        a @ b
    assert seen.problems == [gt.CountedProblem(gt.GemmProblem(m=m, n=n, k=k, dtype="bfloat16", layout=layout))]


@pytest.mark.parametrize(
    ("a", "expected"),
    [
        (meta(64, 40), ("n", 8)),
        (meta(40, 24).t(), ("t", 8)),
        (meta(64, 48)[:, :40], ("n", 16)),  # the pitch counts, not the length
        (meta(64, 48)[:, 1:41], ("n", 1)),  # and where the first element lies
        (meta(64, 48)[:, 4:44], ("n", 4)),
        (meta(64, 80)[:, ::2], ("n", 8)),  # strided both ways: copied to 64 x 40
        (meta(1, 40).expand(64, 40), ("n", 8)),  # rows that overlap are copied too
        (meta(64, 1).expand(64, 40), ("n", 8)),
        (meta(1, 40), ("n", 8)),
        (meta(40, 1).t(), ("n", 8)),
        (meta(40, 96)[:, :1].t(), ("t", 16)),  # a column of a wide matrix: every element a pitch apart
        (meta(64, 1), ("t", 16)),
        (meta(64, 24)[:, :1], ("n", 8)),
        (meta(1, 1), ("n", 1)),
    ],
)
def test_layout_and_alignment_follow_the_strides(a, expected):
    b = torch.empty_strided((a.shape[1], 16), (16, 1), dtype=a.dtype, device="meta")
    with gt.capture() as seen:
        torch.mm(a, b)
    (counted,) = seen.problems
    assert (counted.problem.layout, counted.problem.alignment) == (expected[0] + "n", expected[1])


@pytest.mark.parametrize(
    ("a", "alignment"),
    [
        (meta(4, 32, 64), 16),
        (meta(4, 33 * 64)[:, : 32 * 64].view(4, 32, 64), 16),
        (meta(4, 32 * 64 + 4)[:, : 32 * 64].view(4, 32, 64), 4),  # batches begin 4 elements off
        (meta(1, 32 * 64 + 4)[:, : 32 * 64].view(1, 32, 64), 16),  # which no single batch notices
        (meta(1, 32, 64).expand(4, 32, 64), 16),
    ],
)
def test_the_batch_stride_counts_for_the_alignment(a, alignment):
    batch = a.shape[0]
    problem = gt.GemmProblem(op="bmm", m=32, n=16, k=64, batch=batch, dtype="bfloat16", alignment=alignment)
    with gt.capture() as seen:
        torch.bmm(a, meta(batch, 64, 16))
    assert seen.problems == [gt.CountedProblem(problem)]


# Operators


def test_every_form_of_an_operator_counts_as_that_operator():
    a, b, bias = meta(8, 16), meta(16, 32), meta(32)
    out = meta(8, 32)
    assert ran(lambda: (torch.mm(a, b), a @ b, torch.mm(a, b, out=out), torch.ops.aten.mm(self=a, mat2=b))) == {
        "mm 8x32x16 bfloat16 nn align 16": 4
    }
    assert ran(lambda: (torch.addmm(bias, a, b, beta=2), out.addmm_(a, b), torch.addmm(bias, mat1=a, mat2=b))) == {
        "addmm 8x32x16 bfloat16 nn align 16": 3
    }
    a, b, out = (t.expand(3, *t.shape) for t in (a, b, out))
    assert ran(lambda: (a @ b, torch.einsum("bik,bkj->bij", a, b))) == {"bmm 3x8x32x16 bfloat16 nn align 16": 2}
    out = meta(3, 8, 32)
    assert ran(lambda: (torch.baddbmm(out, a, b), out.baddbmm_(a, b))) == {"baddbmm 3x8x32x16 bfloat16 nn align 16": 2}


def test_out_dtype_and_activation_are_kept():
    a, b = meta(8, 16), meta(16, 32)
    assert ran(torch.mm, a, b, out_dtype=torch.float32) == {"mm 8x32x16 bfloat16->float32 nn align 16": 1}
    activated = torch._addmm_activation
    assert ran(activated, meta(32), a, b) == {"addmm 8x32x16 bfloat16 nn align 16 +relu": 1}
    assert ran(activated, meta(32), a, b, use_gelu=True) == {"addmm 8x32x16 bfloat16 nn align 16 +gelu_tanh": 1}


@pytest.mark.parametrize("bias", [False, True])
def test_scaled_mm(bias):
    a = meta(32, 64, dtype=torch.float8_e4m3fn)
    b = meta(16, 64, dtype=torch.float8_e5m2).t()
    scale = meta(dtype=torch.float32)
    told = "scaled_mm 32x16x64 float8_e4m3fn/float8_e5m2->bfloat16 nt align 16" + (" +bias" if bias else "")
    added = meta(16) if bias else None
    assert ran(torch._scaled_mm, a, b, scale, scale, added, out_dtype=torch.bfloat16) == {told: 1}
    if hasattr(functional, "scaled_mm"):
        wise = functional.ScalingType.TensorWise
        kwargs = {"bias": added, "output_dtype": torch.bfloat16}
        assert ran(functional.scaled_mm, a, b, scale, wise, scale, wise, **kwargs) == {told: 1}


def test_scaled_mm_by_row():
    a = meta(32, 64, dtype=torch.float8_e4m3fn)
    b = meta(16, 64, dtype=torch.float8_e4m3fn).t()
    scales = meta(32, 1, dtype=torch.float32), meta(1, 16, dtype=torch.float32)
    told = "scaled_mm 32x16x64 float8_e4m3fn->bfloat16 row-scaled nt align 16"
    assert ran(torch._scaled_mm, a, b, *scales, out_dtype=torch.bfloat16) == {told: 1}
    if hasattr(functional, "scaled_mm"):
        wise = functional.ScalingType.RowWise
        given = scales[0], wise, scales[1], wise
        assert ran(functional.scaled_mm, a, b, *given, output_dtype=torch.bfloat16) == {told: 1}


def test_int_mm():
    a, b = (torch.ones(32, 32, dtype=torch.int8) for _ in range(2))
    assert ran(torch._int_mm, a, b.t()) == {"int_mm 32x32x32 int8->int32 nt align 16": 1}


def test_what_is_no_gemm_is_not_recorded():
    image = torch.ones(1, 3, 8, 8)
    conv = torch.nn.Conv2d(3, 4, 3)
    assert ran(lambda: conv(image).sum().backward()) == {}
    assert ran(torch.mv, meta(8, 16), meta(16)) == {}
    assert ran(torch.mm, meta(0, 16), meta(16, 8)) == {}
    assert ran(torch.mm, meta(8, 0), meta(0, 8)) == {}


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64, torch.int64])
def test_dtypes_that_are_not_tuned_are_counted_with_the_reason(dtype):
    a = torch.ones(4, 4, dtype=dtype)
    with gt.capture() as seen:
        a @ a
        a @ a
    ((reason, count),) = seen.skipped.items()
    assert seen.problems == [] and count == 2 and f"unknown dtype '{str(dtype)[6:]}'" in reason


def test_other_products_are_counted_with_the_reason():
    a = torch.ones(2, 4, 4)
    with gt.capture() as seen:
        torch.addbmm(a[0], a, a)
        torch.mm(a[0].to_sparse(), a[0])
        torch.ops.aten._grouped_mm(meta(4, 32, 64), meta(4, 64, 16))
    assert seen.problems == []
    assert {reason.split(": ")[0] for reason in seen.skipped} == {"aten::addbmm", "aten::mm", "aten::_grouped_mm"}


def test_symbolic_sizes_are_counted_with_the_reason():
    make_fx = pytest.importorskip("torch.fx.experimental.proxy_tensor").make_fx
    a = torch.ones(8, 16)
    with gt.capture() as seen:
        make_fx(lambda a: torch.mm(a, a.t()), tracing_mode="symbolic")(a)
    assert (seen.problems, [*seen.skipped.values()]) == ([], [1])
    assert "symbols" in next(iter(seen.skipped))


def test_tensors_made_of_others_are_seen_through():
    nested = torch.nested.nested_tensor([torch.ones(3, 16), torch.ones(5, 16)], layout=torch.jagged)
    assert ran(torch.nn.Linear(16, 8), nested) == {"addmm 8x8x16 float32 nt align 16": 1}
    two_tensor = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor
    a = torch.ones(8, 16)
    assert ran(lambda: two_tensor(a, a) @ two_tensor(a, a).t()) == {"mm 8x8x16 float32 nt align 16": 2}


# Settings


@pytest.fixture
def matmul_precision():
    setting = torch.backends.cuda.matmul
    before = setting.fp32_precision
    yield setting
    setting.fp32_precision = before


@pytest.mark.parametrize(("word", "precision"), [("tf32", "tf32"), ("ieee", "ieee"), ("none", "ieee")])
def test_tf32_setting_through_the_new_interface(matmul_precision, word, precision):
    matmul_precision.fp32_precision = word
    with gt.capture() as seen:
        meta(8, 8, dtype=torch.float32) @ meta(8, 8, dtype=torch.float32)
        meta(8, 8) @ meta(8, 8)
    assert [counted.problem.precision for counted in seen.problems] == [precision, "ieee"]


@pytest.mark.parametrize(("word", "precision"), [("highest", "ieee"), ("high", "tf32"), ("medium", "tf32")])
def test_tf32_setting_through_the_old_interface(matmul_precision, word, precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(word)
    try:
        with gt.capture() as seen:
            torch.ones(8, 8) @ torch.ones(8, 8)
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen.problems[0].problem.precision == precision


# Forward and backward, and the ways to run them

FORWARD = {"addmm 64x32x16 float32 nt align 16": 1, "addmm 64x8x32 float32 nt align 16": 1}
BACKWARD = {  # dgrad and wgrad of the second layer; wgrad alone of the first, whose input needs no gradient
    "mm 64x32x8 float32 nn align 8": 1,
    "mm 8x32x64 float32 tn align 8": 1,
    "mm 32x16x64 float32 tn align 16": 1,
}


def mlp(device="cpu"):
    layers = torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8)
    return torch.nn.Sequential(*layers).to(device), torch.ones(64, 16, device=device)


@pytest.mark.parametrize("device", DEVICES)
def test_forward_and_backward(device):
    model, x = mlp(device)
    assert ran(lambda: model(x).square().sum().backward()) == FORWARD | BACKWARD


def test_backward_alone():
    model, x = mlp()
    loss = model(x).square().sum()
    assert ran(loss.backward) == BACKWARD


def test_backward_in_a_thread_of_autograds_own():
    class Nested(torch.autograd.Function):  # past 60 nested backward passes autograd goes on in another thread
        @staticmethod
        def forward(ctx, x, depth):
            ctx.depth = depth
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            with torch.enable_grad():
                y = torch.ones(4, 4, requires_grad=True)
                if ctx.depth:
                    Nested.apply(y, ctx.depth - 1).sum().backward()
                else:
                    threads.append(threading.current_thread())
                    y @ y
            return grad, None

    threads = []
    x = torch.ones(4, 4, requires_grad=True)
    assert ran(lambda: Nested.apply(x, 80).sum().backward()) == {"mm 4x4x4 float32 nn align 4": 1}
    assert threads != [threading.main_thread()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(device, mode):
    model, x = mlp(device)
    assert ran(mode()(model), x) == FORWARD
    assert ran(mode()(lambda: x @ x.t())) == {"mm 64x64x16 float32 nt align 16": 1}


def test_autocast():
    model, x = mlp()
    with torch.autocast("cpu", torch.bfloat16):
        assert ran(model, x) == {told.replace("float32", "bfloat16"): 1 for told in FORWARD}


@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_compiled_model_is_seen_operator_by_operator(fullgraph):
    model, x = mlp()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=fullgraph)
    assert ran(lambda: compiled(x).square().sum().backward()) == FORWARD | BACKWARD
    compiled(x)  # compiles, now that nothing watches
    assert ran(compiled, x) == FORWARD


def test_functional_transforms():
    weights = torch.ones(3, 5, 6)
    assert ran(torch.vmap(torch.mm), torch.ones(3, 4, 5), weights) == {"bmm 3x4x6x5 float32 nn align 1": 1}
    model, x = mlp()
    assert ran(torch.func.functionalize(model), x) == FORWARD
    assert ran(lambda: torch.export.export(model, (x,))) == FORWARD


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fake_tensors(device):
    fake = pytest.importorskip("torch._subclasses.fake_tensor").FakeTensorMode
    with fake():
        a = torch.empty(8, 16, device=device)
        assert ran(torch.mm, a, a.t()) == {"mm 8x8x16 float32 nt align 16": 1}


# Attention and fused layers


@pytest.mark.parametrize("device", DEVICES)
def test_attention_is_left_to_the_attention_kernels(device):
    q = torch.ones(1, 8, 16, 64, device=device, dtype=torch.bfloat16, requires_grad=True)
    kv = torch.ones(1, 2, 16, 64, device=device, dtype=torch.bfloat16, requires_grad=True)
    mask = torch.zeros(1, 1, 16, 16, device=device, dtype=torch.bfloat16)

    def attend(**kwargs):
        return functional.scaled_dot_product_attention(q, kv, kv, enable_gqa=True, **kwargs)

    assert ran(lambda: attend(is_causal=True).sum().backward()) == {}
    assert q.grad.shape == q.shape and kv.grad.shape == kv.shape
    assert ran(torch.no_grad()(attend), attn_mask=mask) == {}
    assert ran(torch.inference_mode()(attend), attn_mask=mask) == {}


def test_attention_on_meta_has_the_shape_of_attention():
    q, k, v = meta(2, 4, 7, 64), meta(2, 4, 9, 64), meta(2, 4, 9, 32)
    with gt.capture():
        outs = [
            functional.scaled_dot_product_attention(*t)
            for t in ((q, k, v), (q[0], k[0], v[0]), (q[0, 0], k[0, 0], v[0, 0]))
        ]
    assert [tuple(out.shape) for out in outs] == [(2, 4, 7, 32), (4, 7, 32), (7, 32)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("training", [False, True])
def test_an_encoder_layer_shows_its_projections_alone(device, training):
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, device=device).train(training)
    x = torch.ones(2, 5, 32, device=device)
    with torch.set_grad_enabled(training):
        sizes = {(c.problem.m, c.problem.n, c.problem.k): c.count for c in recorded(layer, x)}
    assert sizes == {(10, 96, 32): 1, (10, 32, 32): 1, (10, 64, 32): 1, (10, 32, 64): 1}


def recorded(call, *args):
    with gt.capture() as seen:
        call(*args)
    return seen.problems


# The context manager


def test_a_capture_within_a_capture_is_seen_by_both():
    model, x = mlp("meta")
    q = meta(1, 2, 8, 16, requires_grad=True)

    def attend():
        functional.scaled_dot_product_attention(q, q, q).sum().backward()

    with gt.capture() as outer:
        model(x)
        with gt.capture() as inner, torch.inference_mode():
            model(x)
        attend()
    assert texts(inner) == FORWARD and texts(outer) == dict.fromkeys(FORWARD, 2)
    assert outer.skipped == {}


def test_it_can_be_read_while_it_runs_and_keeps_the_order():
    a = meta(16, 16)
    with gt.capture() as seen:
        a @ a
        assert [counted.count for counted in seen.problems] == [1]
        a @ a.t()
        a @ a
    assert [(counted.problem.layout, counted.count) for counted in seen.problems] == [("nn", 2), ("nt", 1)]
    assert repr(seen) == "<Capture of 2 problems, 3 runs>"
    a @ a
    assert seen.problems[0].count == 2


def test_everything_is_given_back_after_an_error():
    q = meta(1, 2, 8, 16)
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    with pytest.raises(ZeroDivisionError), gt.capture():
        1 / 0  # noqa: B018
    assert torch.backends.mha.get_fastpath_enabled()
    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(1))
    assert len(compiled) == 1
    counter = pytest.importorskip("torch.utils.flop_counter").FlopCounterMode
    with counter(display=False) as flops:
        functional.scaled_dot_product_attention(q, q, q)
    assert flops.get_total_flops() > 0  # on meta PyTorch writes attention out as two bmm's again
