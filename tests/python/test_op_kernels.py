"""The op through our kernels, in Triton's interpreter: the path of CUDA tensors, on a doubled GPU.

The interpreter must be chosen before triton is imported, so the module runs itself in a process of its own.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types autograd only in part)
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from in_interpreter import IN_INTERPRETER, passes_in_the_interpreter

pytest.importorskip("torch")
pytest.importorskip("triton")

if not IN_INTERPRETER:

    def test_in_the_interpreter() -> None:
        passes_in_the_interpreter(__file__, at_least=30)

else:
    import torch
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    import gemm_tuner as gt
    from doubles.interpreted_op import tuned_on_cpu
    from doubles.op_records import DEVICE, winner
    from gemm_tuner import GemmConfig, GemmProblem, ops
    from gemm_tuner.records import Fingerprint

    # the interpreter computes with numpy, which warns where exp gives the infinity that tanh wants
    pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")

    OP = torch.ops.gemm_tuner.matmul.default
    TILED = GemmConfig(block_m=16, block_n=16, block_k=16, num_stages=2, num_warps=4)
    SPLIT = TILED.replace(split_k=3, family="split_k")
    STREAM, PERSISTENT = (TILED.replace(family=family, ctas=5) for family in ("stream_k", "persistent"))
    CONFIGS = pytest.mark.parametrize("config", [TILED, SPLIT], ids=["tiled", "split_k"])
    ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu")
    WORDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "none": lambda x: x,
        "relu": torch.relu,
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "silu": torch.nn.functional.silu,
    }
    TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-5}
    thorough = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

    def random(*sizes: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
        return torch.randn(sizes, generator=torch.Generator().manual_seed(seed)).to(dtype)

    def lain(matrix: torch.Tensor, how: str) -> torch.Tensor:
        """The same matrices, lying otherwise in memory; what is between their rows is poison."""
        *batch, rows, columns = matrix.shape
        if how == "transposed":
            return matrix.mT.contiguous().mT
        if how == "padded":
            wide = torch.full((*batch, rows, columns + 3), torch.nan, dtype=matrix.dtype)
            wide[..., 2 : columns + 2] = matrix
            return wide[..., 2 : columns + 2]
        if how == "padded and transposed":
            return lain(matrix.mT, "padded").mT
        if how == "scattered":  # no layout describes every other element of a row
            wide = torch.full((*batch, rows, 2 * columns), torch.nan, dtype=matrix.dtype)
            wide[..., ::2] = matrix
            return wide[..., ::2]
        return matrix

    LIES = ("as it is", "transposed", "padded", "padded and transposed", "scattered")

    def close(got: torch.Tensor, want: torch.Tensor) -> None:
        assert got.shape == want.shape and got.is_contiguous()
        size = max(want.abs().max().item(), 1.0)
        assert (got.double() - want.double()).abs().max().item() <= TOLERANCE[got.dtype] * size * 4

    sizes = st.integers(1, 40)

    @thorough
    @given(
        m=sizes,
        n=sizes,
        k=sizes,
        batch=st.sampled_from((None, None, 1, 3)),
        lies=st.tuples(st.sampled_from(LIES), st.sampled_from(LIES)),
        dtype=st.sampled_from(tuple(TOLERANCE)),
        activation=st.sampled_from(ACTIVATIONS),
        has_bias=st.booleans(),
        config=st.sampled_from((TILED, SPLIT, STREAM, PERSISTENT)),
    )
    def test_any_operands(
        m: int,
        n: int,
        k: int,
        batch: int | None,
        lies: tuple[str, str],
        dtype: torch.dtype,
        activation: str,
        has_bias: bool,
        config: GemmConfig,
    ) -> None:
        front = () if batch is None else (batch,)
        a, b = random(*front, m, k, dtype=dtype), random(*front, k, n, dtype=dtype, seed=1)
        bias = random(n, dtype=dtype, seed=2) if has_bias else None
        product = a.double() @ b.double()
        want = WORDS[activation](product if bias is None else product + bias.double())
        with tuned_on_cpu(config) as seen:
            close(gt.matmul(lain(a, lies[0]), lain(b, lies[1]), bias, activation), want)
        assert len(seen.problems) == 1

    def test_expanded_operands_and_a_bias_in_steps() -> None:
        a, b, bias = random(5, 7), random(7, 6, seed=1), random(12, seed=2)[::2]
        with tuned_on_cpu(TILED) as seen:
            close(gt.matmul(a.expand(3, 5, 7), b.expand(3, 7, 6), bias), (a @ b + bias).expand(3, 5, 6))
            close(gt.matmul(random(1, 7).expand(4, 7), b), random(1, 7).expand(4, 7) @ b)
        assert [each.op for each in seen.problems] == ["baddbmm", "mm"]

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @CONFIGS
    def test_gradients_are_products_of_the_op(config: GemmConfig, activation: str) -> None:
        given = [random(6, 7), random(7, 5, seed=1), random(5, seed=2)]
        ours = [each.clone().requires_grad_() for each in given]
        theirs = [each.clone().requires_grad_() for each in given]
        upstream = random(6, 5, seed=3)
        with tuned_on_cpu(config) as seen:
            gt.matmul(ours[0], ours[1], ours[2], activation).backward(upstream)
        WORDS[activation](torch.addmm(theirs[2], theirs[0], theirs[1])).backward(upstream)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)
        sizes_and_layouts = [(p.op, p.m, p.n, p.k, p.layout) for p in seen.problems]
        assert sizes_and_layouts == [("addmm", 6, 5, 7, "nn"), ("mm", 6, 7, 5, "nt"), ("mm", 7, 5, 6, "tn")]

    @CONFIGS
    def test_batched_gradients_of_second_order(config: GemmConfig) -> None:
        def penalty(product: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
            a, b = (each.requires_grad_() for each in (random(2, 4, 5), random(2, 5, 3, seed=1)))
            (slope,) = torch.autograd.grad(product(a, b).square().sum(), a, create_graph=True)
            return list(torch.autograd.grad(slope.square().sum(), (a, b)))

        with tuned_on_cpu(config) as seen:
            ours = penalty(gt.matmul)
        assert len(seen.problems) >= 5
        torch.testing.assert_close(ours, penalty(torch.bmm), rtol=1e-4, atol=1e-4)

    def test_only_gradients_that_are_wanted_are_computed() -> None:
        a, b = random(4, 5), random(5, 3, seed=1).requires_grad_()
        with tuned_on_cpu(TILED) as seen:
            gt.matmul(a, b).sum().backward()
        assert [(each.m, each.n, each.k) for each in seen.problems] == [(4, 3, 5), (5, 3, 4)]

    @pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
    def test_passes_opcheck(activation: str) -> None:
        a, b, bias = (each.requires_grad_() for each in (random(6, 7), random(7, 5, seed=1), random(5, seed=2)))
        with tuned_on_cpu(TILED) as seen:
            torch.library.opcheck(OP, (a, b, bias, activation), rtol=1e-4, atol=1e-4)
        assert seen.problems

    def test_autocast_launches_half_precision() -> None:
        a, b, bias = random(6, 7), random(7, 5, seed=1), random(5, seed=2).requires_grad_()
        with tuned_on_cpu(TILED) as seen, torch.autocast("cpu", torch.bfloat16):
            out = gt.matmul(a, b, bias)
        assert out.dtype == torch.bfloat16 and seen.problems[0].a_dtype == "bfloat16"
        close(out, (a.bfloat16().double() @ b.bfloat16().double() + bias.bfloat16().double()).detach())
        out.float().sum().backward()
        assert bias.grad is not None and bias.grad.dtype == torch.float32

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch, of its jvp
    def test_whoever_takes_the_program_apart_sees_aten() -> None:
        from torch.utils.flop_counter import FlopCounterMode

        a, b = random(6, 7), random(7, 5, seed=1)
        with tuned_on_cpu(TILED) as seen:
            with FlopCounterMode(display=False) as counter:
                gt.matmul(a, b)
            compiled = torch.compile(
                lambda a, b: gt.matmul(a, b, activation="relu"), fullgraph=True, backend="aot_eager"
            )
            torch.testing.assert_close(compiled(a, b), torch.relu(a @ b))
            with torch.inference_mode():
                torch.testing.assert_close(compiled(a, b), torch.relu(a @ b))
            torch.testing.assert_close(torch.func.grad(lambda a: gt.matmul(a, b).sum())(a), torch.ones(6, 5) @ b.T)
            torch.testing.assert_close(
                torch.func.jvp(lambda a: gt.matmul(a, b), (a,), (torch.ones_like(a),))[1], torch.ones_like(a) @ b
            )
            with gt.capture() as captured:
                gt.matmul(a, b)
            assert seen.problems == []
            with torch.inference_mode():
                close(gt.matmul(a, b), a.double() @ b.double())
        assert counter.get_total_flops() == 2 * 6 * 7 * 5
        assert [each.problem for each in captured.problems] == seen.problems

    def test_deterministic_mode_and_threads() -> None:
        from concurrent.futures import ThreadPoolExecutor

        a, b = random(20, 90), random(90, 20, seed=1)
        torch.use_deterministic_algorithms(True)
        try:
            with tuned_on_cpu(SPLIT) as seen, ThreadPoolExecutor(2) as pool:
                results = list(pool.map(lambda _: gt.matmul(a, b), range(4)))
        finally:
            torch.use_deterministic_algorithms(False)
        assert len(seen.runners) == 1 and seen.runners[0].calls == 4
        assert all(torch.equal(results[0], each) for each in results[1:])

    def test_a_replaced_model_trains() -> None:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.SiLU(), torch.nn.Linear(9, 4, bias=False))
        x = random(2, 3, 6)
        model(x).square().sum().backward()
        want = [parameter.grad for parameter in model.parameters()]
        model.zero_grad()
        gt.replace_linear(model)
        with tuned_on_cpu(TILED) as seen:
            model(x).square().sum().backward()
        torch.testing.assert_close([parameter.grad for parameter in model.parameters()], want, rtol=1e-4, atol=1e-5)
        assert [(each.op, each.layout) for each in seen.problems] == [
            ("addmm", "nt"), ("mm", "nt"), ("mm", "nn"), ("mm", "tn"), ("mm", "tn")
        ]  # fmt: skip

    # choices

    PROBLEM = GemmProblem(m=24, n=40, k=80, dtype="float16")

    def call(problem: GemmProblem = PROBLEM, activation: str | None = None) -> torch.Tensor:
        return gt.matmul(random(24, 80).half(), random(80, 40, seed=1).half(), activation=activation)

    def test_a_record_names_the_kernel() -> None:
        with tuned_on_cpu([winner(PROBLEM, SPLIT)]) as seen:
            call()
        assert seen.problems == [PROBLEM] and seen.runners[0].work.config == SPLIT

    @pytest.mark.parametrize(
        "fields",
        [
            {"device": Fingerprint.of(gt.device("rtx-4060"))},
            {"device": Fingerprint.of(DEVICE.with_available_sms(20))},
            {"kernel": "gemm_tuner::tiled@000000000000"},
            {"kernel": "gemm_tuner::unheard_of@000000000000"},
            {"kernel": "inductor::mm@0123456789ab"},  # of another torch
        ],
        ids=[
            "another device",
            "another budget",
            "a changed kernel",
            "a kernel of the future",
            "another torch's template",
        ],
    )
    def test_records_that_do_not_fit_are_never_launched(fields: dict[str, object]) -> None:
        with tuned_on_cpu([winner(PROBLEM, TILED, **fields)]) as seen:
            close(call(), random(24, 80).half().double() @ random(80, 40, seed=1).half().double())
        assert seen.runners == []

    def test_a_config_that_is_not_legal_here_is_never_launched(caplog: pytest.LogCaptureFixture) -> None:
        huge = GemmConfig(block_m=256, block_n=256, block_k=128, num_stages=5, num_warps=8)
        with caplog.at_level("INFO", "gemm_tuner"), tuned_on_cpu([winner(PROBLEM, huge)]) as seen:
            call()
        assert seen.runners == [] and "which our kernel cannot follow" in caplog.text

    def test_a_template_of_inductors_is_a_prediction_for_ours() -> None:
        from gemm_tuner.records import Versions
        from gemm_tuner.versions import installed_version

        other = TILED.replace(block_n=32)
        template = winner(PROBLEM, other, kernel="inductor::mm@0123456789ab")
        object.__setattr__(template, "versions", Versions("0", torch=installed_version("torch")))
        predicted = winner(PROBLEM, TILED, basis="predicted", spread=None)
        with tuned_on_cpu([predicted, template]) as seen:
            call()
        assert [each.work.config for each in seen.runners] == [other]
        with tuned_on_cpu([winner(PROBLEM, SPLIT), template]) as seen:
            call()
        assert [each.work.config for each in seen.runners] == [SPLIT]

    def test_a_record_of_the_product_serves_it_with_an_activation() -> None:
        with tuned_on_cpu([winner(PROBLEM, TILED)]) as seen:
            call(activation="silu")
        assert seen.problems == [PROBLEM.replace(epilogue="silu")]
        with tuned_on_cpu([winner(PROBLEM, TILED), winner(PROBLEM.replace(epilogue="silu"), None)]) as seen:
            call(activation="silu")
        assert seen.runners == []

    def test_records_files_are_read_and_undone(tmp_path: Path) -> None:
        from gemm_tuner.in_use import in_use
        from gemm_tuner.records import append

        append(tmp_path / "records.jsonl", [winner(PROBLEM, TILED)])
        before = in_use()
        with gt.use_records(tmp_path / "records.jsonl") as used:
            assert in_use() is used and "1 records" in repr(used)
        assert in_use() is before
        with pytest.raises(gt.errors.RecordsError, match="there is no records file"):
            gt.use_records(tmp_path / "missing.jsonl")
        with pytest.raises(ValueError, match="on_miss must be one of aten, tune, got 'measure'"):
            gt.use_records(on_miss="measure")  # type: ignore[arg-type]
        assert in_use() is before

    def test_on_miss_tune_measures_once_and_keeps_it(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from types import SimpleNamespace

        from gemm_tuner import tuning
        from gemm_tuner.records import append

        asked: list[GemmProblem] = []

        def tune(
            problems: list[GemmProblem], device: gt.DeviceSpec, *, records: Path, **given: object
        ) -> SimpleNamespace:
            assert device == DEVICE and given == {"measured": True, "kernel": "gemm_tuner"}
            asked.extend(problems)
            found = [winner(each, TILED) for each in problems]
            records.parent.mkdir(exist_ok=True)
            append(records, found)
            return SimpleNamespace(outcomes=[SimpleNamespace(winner=each) for each in found])

        monkeypatch.setattr(tuning, "tune", tune)
        for _ in range(2):  # the second time it is known from the file
            with tuned_on_cpu(on_miss="tune") as seen:
                call()
                call()
            assert len(seen.problems) == 2
        assert asked == [PROBLEM]

    def test_what_stands_in_the_way_is_said_once_and_leaves_aten(
        monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        from doubles.interpreted_op import Interpreted

        def fails(self: Interpreted, work: object) -> None:
            raise gt.errors.NotBuiltError("no launcher here")

        monkeypatch.setattr(Interpreted, "runner_of", fails)
        with tuned_on_cpu(TILED):
            for _ in range(2):
                close(call(), random(24, 80).half().double() @ random(80, 40, seed=1).half().double())
        assert [each.levelname for each in caplog.records] == ["WARNING"]
        assert "mm 24x40x80 float16 nn align 8 stays with ATen: no launcher here" in caplog.text

    @pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.complex64])
    def test_other_types_are_atens(dtype: torch.dtype) -> None:
        with tuned_on_cpu(TILED) as seen:
            torch.testing.assert_close(
                gt.matmul(torch.ones(2, 3).to(dtype), torch.ones(3, 2).to(dtype)), torch.full((2, 2), 3).to(dtype)
            )
        assert seen.runners == []

    @pytest.mark.parametrize(("a", "b"), [((0, 3), (3, 4)), ((2, 0), (0, 4)), ((2, 3), (3, 0)), ((0, 2, 3), (0, 3, 4))])
    def test_empty_products_are_atens(a: tuple[int, ...], b: tuple[int, ...]) -> None:
        with tuned_on_cpu(TILED) as seen:
            torch.testing.assert_close(gt.matmul(torch.ones(a), torch.ones(b)), torch.ones(a) @ torch.ones(b))
        assert seen.runners == []

    def test_errors_come_before_any_launch() -> None:
        a = torch.ones(2, 3)
        with tuned_on_cpu(TILED) as seen:
            for b, bias, words in (
                (torch.ones(4, 5), None, "shapes cannot be multiplied .2x3 and 4x5"),
                (
                    torch.ones(3, 4).half(),
                    None,
                    "expected a and b to have the same dtype, but got: torch.float32 != torch.float16",
                ),
                (torch.ones(3, 4), torch.ones(4).half(), "expected a and bias to have the same dtype"),
                (torch.ones(3, 4), torch.ones(5), "bias must be a row of 4 elements"),
            ):
                with pytest.raises(RuntimeError, match=words):
                    gt.matmul(a, b, bias)
        assert seen.runners == []
        with pytest.raises(
            RuntimeError, match="on the same device, but got b is on meta, different from other tensors on cpu"
        ):
            ops._tuned(a, torch.ones(3, 4, device="meta"))
