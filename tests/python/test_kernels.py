"""What the kernels compute, against a float32 reference, in Triton's interpreter: no GPU is needed.

The interpreter must be chosen before triton is imported, so the module runs itself in a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from in_interpreter import IN_INTERPRETER, passes_in_the_interpreter

pytest.importorskip("torch")
pytest.importorskip("triton")

if not IN_INTERPRETER:

    def test_in_the_interpreter() -> None:
        passes_in_the_interpreter(__file__, at_least=8)

else:
    sys.path.insert(0, str(Path(__file__).parent))

    import torch
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from gemm_tuner import GemmConfig, GemmProblem
    from gemm_tuner.sources import kernel_sources
    from interpreted import Scales, run

    # the interpreter computes with numpy, which warns where exp gives the infinity that tanh wants
    pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")

    FAMILIES = [
        GemmConfig(block_m=32, block_n=16),
        GemmConfig(block_m=32, block_n=16, split_k=3),
        GemmConfig(block_m=32, block_n=16, family="stream_k", ctas=5),
        GemmConfig(block_m=32, block_n=16, family="persistent", ctas=2),
    ]
    LAYOUTS = ("nn", "nt", "tn", "tt")
    BEFORE_RESIDUAL = (
        "", "bias", "relu", "gelu", "gelu_tanh", "silu", "bias+relu", "bias+gelu", "bias+gelu_tanh", "bias+silu"
    )  # fmt: skip
    EPILOGUES = [
        "+".join(filter(None, (each, last))) or "none" for each in BEFORE_RESIDUAL for last in ("", "residual")
    ]
    # of the result's magnitude: half precision rounds once on the way out; tf32 and float8 are exact in the interpreter
    TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 1e-5}
    thorough = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

    def random_operand(
        rows: int, columns: int, dtype: str, *, batch: int = 1, pad: int = 0, seed: int = 0
    ) -> torch.Tensor:
        """(batch, rows, columns) with `pad` poisoned elements after each row: reading them shows."""
        generator = torch.Generator().manual_seed(seed)
        if dtype == "int8":
            values = torch.randint(-128, 128, (batch, rows, columns + pad), generator=generator, dtype=torch.int8)
            return values[:, :, :columns]
        values = torch.randn((batch, rows, columns + pad), generator=generator)
        values[:, :, columns:] = float("nan")
        return values.to(getattr(torch, dtype))[:, :, :columns]

    def reference(
        problem: GemmProblem,
        a: torch.Tensor,
        b: torch.Tensor,
        bias: torch.Tensor | None,
        residual: torch.Tensor | None,
        scale: float | torch.Tensor,
    ) -> torch.Tensor:
        wide = torch.int64 if problem.out_dtype == "int32" else torch.float64
        left = (a.transpose(1, 2) if problem.layout[0] == "t" else a).to(wide)
        right = (b.transpose(1, 2) if problem.layout[1] == "t" else b).to(wide)
        product = left @ right
        if problem.op == "scaled_mm" or problem.a_dtype != "int8":
            product = product * scale
        if bias is not None:
            product = product + bias.to(wide)
        activation: Callable[[torch.Tensor], torch.Tensor] | None = {
            "relu": torch.relu,
            "gelu": torch.nn.functional.gelu,
            "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
            "silu": torch.nn.functional.silu,
        }.get(problem.epilogue.removeprefix("bias+").removesuffix("+residual"))
        product = activation(product) if activation else product
        return product if residual is None else product + residual.to(wide)

    def check(
        problem: GemmProblem, config: GemmConfig, *, pad: int = 0, aligned: int = 1, scales: Scales = (1.0, 1.0)
    ) -> None:
        a_shape = (problem.k, problem.m) if problem.layout[0] == "t" else (problem.m, problem.k)
        b_shape = (problem.n, problem.k) if problem.layout[1] == "t" else (problem.k, problem.n)
        a_pad, b_pad = (pad or -columns % aligned for _, columns in (a_shape, b_shape))
        a = random_operand(*a_shape, problem.a_dtype, batch=problem.batch, pad=a_pad, seed=1)
        b = random_operand(*b_shape, problem.b_dtype, batch=problem.batch, pad=b_pad, seed=2)
        out_dtype, drawn = getattr(torch, problem.out_dtype), problem.out_dtype.replace("int32", "int8")
        row = random_operand(1, problem.n, drawn, seed=3)[0, 0].to(out_dtype)
        like_c = random_operand(problem.m, problem.n, drawn, batch=problem.batch, seed=4).to(out_dtype)
        bias = row if "bias" in problem.epilogue else None
        residual = like_c if "residual" in problem.epilogue else None
        got = run(problem, config, a, b, bias=bias, residual=residual, scales=scales)
        want = reference(problem, a, b, bias, residual, scales[0] * scales[1])
        if problem.out_dtype == "int32":
            assert torch.equal(got.to(torch.int64), want)
            return
        size = (want.abs().max() + problem.k**0.5).item()
        assert (got.double() - want).abs().max().item() <= TOLERANCE[problem.out_dtype] * size

    blocks = st.sampled_from((16, 32))
    families = st.one_of(
        st.just({"family": "tiled"}),
        st.builds(lambda split: {"family": "split_k", "split_k": split}, st.sampled_from((2, 3, 7))),
        st.builds(
            lambda family, ctas: {"family": family, "ctas": ctas},
            st.sampled_from(("stream_k", "persistent")),
            st.integers(1, 12),
        ),
    )
    configs = st.builds(
        lambda m, n, group, family: GemmConfig(block_m=m, block_n=n, block_k=32, group_m=group, **family),
        blocks,
        blocks,
        st.sampled_from((1, 2, 8)),
        families,
    )
    sizes = st.integers(1, 60)

    @thorough
    @given(m=sizes, n=sizes, k=sizes, layout=st.sampled_from(LAYOUTS), config=configs, pad=st.sampled_from((0, 3, 8)))
    def test_any_size_and_layout(m: int, n: int, k: int, layout: str, config: GemmConfig, pad: int) -> None:
        check(GemmProblem(m=m, n=n, k=k, dtype="float32", layout=layout, alignment=1), config, pad=pad)

    @thorough
    @given(
        m=sizes,
        n=sizes,
        k=sizes,
        layout=st.sampled_from(LAYOUTS),
        dtype=st.sampled_from(("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8")),
        epilogue=st.sampled_from(("none", "relu+residual")),
        config=configs,
    )
    def test_any_dtype(m: int, n: int, k: int, layout: str, dtype: str, epilogue: str, config: GemmConfig) -> None:
        check(GemmProblem(m=m, n=n, k=k, dtype=dtype, layout=layout, epilogue=epilogue), config)

    @thorough
    @given(m=sizes, n=sizes, k=sizes, epilogue=st.sampled_from(EPILOGUES), config=configs)
    def test_any_epilogue(m: int, n: int, k: int, epilogue: str, config: GemmConfig) -> None:
        check(GemmProblem(m=m, n=n, k=k, dtype="float32", epilogue=epilogue), config)

    @settings(thorough, max_examples=6)
    @given(
        batch=st.integers(2, 4),
        m=sizes,
        n=sizes,
        layout=st.sampled_from(LAYOUTS),
        epilogue=st.sampled_from(("none", "silu+residual")),
        config=configs,
    )
    def test_any_batch(batch: int, m: int, n: int, layout: str, epilogue: str, config: GemmConfig) -> None:
        problem = GemmProblem(op="bmm", batch=batch, m=m, n=n, k=50, dtype="float32", layout=layout, epilogue=epilogue)
        check(problem, config)

    @pytest.mark.parametrize("config", FAMILIES, ids=str)
    @pytest.mark.parametrize("dtypes", [("float8_e4m3fn", "float8_e4m3fn"), ("float8_e4m3fn", "float8_e5m2")])
    def test_scaled_float8(dtypes: tuple[str, str], config: GemmConfig) -> None:
        a_dtype, b_dtype = dtypes
        problem = GemmProblem(
            op="scaled_mm", m=40, n=24, k=96, a_dtype=a_dtype, b_dtype=b_dtype, layout="nt", epilogue="bias"
        )
        check(problem, config, scales=(0.37, 1.9))

    @pytest.mark.parametrize("config", FAMILIES, ids=str)
    @pytest.mark.parametrize(("dtype", "out_dtype"), [("float8_e4m3fn", "bfloat16"), ("int8", "float16")])
    def test_row_scaled(dtype: str, out_dtype: str, config: GemmConfig) -> None:
        problem = GemmProblem(
            op="scaled_mm",
            scaling="row",
            m=40,
            n=24,
            k=96,
            dtype=dtype,
            out_dtype=out_dtype,
            layout="nt",
            epilogue="bias+silu+residual",
        )
        generator = torch.Generator().manual_seed(5)
        check(
            problem,
            config,
            scales=(torch.rand(40, 1, generator=generator) / 100, torch.randn(1, 24, generator=generator)),
        )

    @pytest.mark.parametrize("epilogue", ["bias+relu", "bias+relu+residual"])
    def test_int8_takes_a_bias_relu_and_residual(epilogue: str) -> None:
        check(GemmProblem(op="int_mm", m=33, n=17, k=40, dtype="int8", epilogue=epilogue), GemmConfig())

    @settings(thorough, max_examples=20)
    @given(
        m=sizes,
        n=sizes,
        k=sizes,
        layout=st.sampled_from(LAYOUTS),
        dtype=st.sampled_from(("float16", "float32", "float8_e4m3fn", "int8")),
        ctas=st.integers(1, 5),
        epilogue=st.sampled_from(("none", "bias+relu+residual")),
        batch=st.sampled_from((1, 3)),
    )
    def test_tiles_from_the_copy_engine(
        m: int, n: int, k: int, layout: str, dtype: str, ctas: int, epilogue: str, batch: int
    ) -> None:
        """Rows are padded to a multiple of 16 elements, and what they are padded with is never read."""
        op = "mm" if batch == 1 else "bmm"
        problem = GemmProblem(
            op=op, batch=batch, m=m, n=n, k=k, dtype=dtype, layout=layout, alignment=16, epilogue=epilogue
        )
        check(problem, GemmConfig(block_m=32, block_n=16, family="persistent_tma", ctas=ctas), aligned=16)

    @pytest.mark.parametrize("ctas", [1, 2, 5, 6, 7, 11, 12, 13, 24, 40, 77, 90])
    def test_stream_k_ends_every_tile_once(ctas: int) -> None:
        """6 tiles of 7 steps, by fewer CTAs than tiles, as many, more, and more than there are steps."""
        problem = GemmProblem(op="bmm", batch=2, m=80, n=17, k=100, dtype="float32")
        check(problem, GemmConfig(family="stream_k", block_m=32, block_n=32, block_k=16, ctas=ctas), pad=1)

    @pytest.mark.parametrize("config", FAMILIES, ids=str)
    def test_the_same_bits_every_time(config: GemmConfig) -> None:
        problem = GemmProblem(m=48, n=40, k=200, dtype="float16")
        a, b = random_operand(48, 200, "float16"), random_operand(200, 40, "float16")
        assert torch.equal(run(problem, config, a, b), run(problem, config, a, b))

    @pytest.mark.parametrize("config", FAMILIES, ids=str)
    def test_64_bit_offsets_reach_the_same_elements(config: GemmConfig) -> None:
        """A row pitch of 2**30 elements: the third row lies beyond 32 bits. The storage is mapped and never filled."""
        k, pitch = 20, 2**30
        problem = GemmProblem(m=3, n=16, k=k, dtype="int8", op="int_mm", alignment=1)
        storage = torch.empty(2 * pitch + k, dtype=torch.int8)
        a = storage.as_strided((1, 3, k), (0, pitch, 1))
        a.copy_(random_operand(3, k, "int8"))
        b = random_operand(k, 16, "int8", seed=2)
        assert torch.equal(run(problem, config, a, b, INDEX64=True).long(), a.long() @ b.long())

    def test_64_bit_offsets_are_chosen_by_size() -> None:
        def index64(m: int) -> object:
            return dict(kernel_sources(GemmProblem(m=m, n=16, k=2**17), GemmConfig())[0].constants)["INDEX64"]

        assert index64(2**14 - 1) is False
        assert index64(2**14) is True
