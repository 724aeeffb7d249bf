"""The op that runs one named config: what it computes through our kernels, in Triton's interpreter, and through ATen.

The interpreter must be chosen before triton is imported, so the module runs itself in a process of its own.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries only in part)
from __future__ import annotations

from collections.abc import Iterator

import pytest

from in_interpreter import IN_INTERPRETER, passes_in_the_interpreter

pytest.importorskip("torch")
pytest.importorskip("triton")

if not IN_INTERPRETER:

    def test_in_the_interpreter() -> None:
        passes_in_the_interpreter(__file__, at_least=30)

else:
    import torch

    import gemm_tuner as gt
    from doubles.interpreted_op import Interpreted
    from gemm_tuner import config_op
    from gemm_tuner.errors import NotBuiltError
    from gemm_tuner.in_use import Work

    OP = torch.ops.gemm_tuner.run_config.out
    H100 = gt.device("h100-sxm")
    TILED = gt.GemmConfig(block_m=16, block_n=16, block_k=16, num_stages=2, num_warps=4)
    FAMILIES = [
        TILED.replace(split_k=3, family="split_k"),
        TILED.replace(ctas=5, family="stream_k"),
        TILED.replace(ctas=5, family="persistent"),
    ]
    OTHERS = pytest.mark.parametrize("config", FAMILIES, ids=[each.family for each in FAMILIES])
    TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-5}

    @pytest.fixture
    def seen() -> Iterator[Interpreted]:
        """The op treats CPU tensors as it treats CUDA's, on a doubled H100."""
        seen = Interpreted()
        runs = config_op.ConfigRuns(device_of=lambda ordinal: H100, runner_of=seen.runner_of)
        library = torch.library.Library("gemm_tuner", "IMPL")
        library.impl("run_config.out", config_op.launched(runs), "CPU")
        config_op._say_once.cache_clear()
        yield seen
        library._destroy()

    def random(*sizes: int, dtype: torch.dtype = torch.float16, seed: int = 0) -> torch.Tensor:
        return torch.randn(sizes, generator=torch.Generator().manual_seed(seed)).to(dtype)

    def run(
        config: gt.GemmConfig,
        a: torch.Tensor,
        b: torch.Tensor,
        bias: torch.Tensor | None = None,
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if out is None:
            out = torch.full((*a.shape[:-1], b.shape[-1]), torch.nan, dtype=a.dtype)
        returned: torch.Tensor = OP(a, b, bias, config=config_op.to_text(config), out=out)
        assert returned.data_ptr() == out.data_ptr()
        expected = a.float() @ b.float() + (0 if bias is None else bias.float())
        scale = a.shape[-1] ** 0.5
        torch.testing.assert_close(
            out.float(), expected, rtol=TOLERANCE[a.dtype], atol=TOLERANCE[a.dtype] * scale, check_stride=False
        )
        return out

    @OTHERS
    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize("batch", [(), (3,)])
    @pytest.mark.parametrize("with_bias", [False, True])
    def test_every_family_computes_the_product(
        seen: Interpreted, config: gt.GemmConfig, dtype: torch.dtype, batch: tuple[int, ...], with_bias: bool
    ) -> None:
        a, b = random(*batch, 37, 75, dtype=dtype), random(*batch, 75, 45, dtype=dtype, seed=1)
        bias = random(45, dtype=dtype, seed=2) if with_bias else None
        run(config, a, b, bias)
        (runner,) = seen.runners
        assert runner.work.config == config
        word = ("baddbmm" if with_bias else "bmm") if batch else ("addmm" if with_bias else "mm")
        assert (runner.work.problem.op, runner.calls) == (word, 1)

    def test_one_kind_of_call_is_made_ready_once_and_another_config_by_itself(seen: Interpreted) -> None:
        a, b = random(32, 64), random(64, 48, seed=1)
        for _ in range(3):
            run(FAMILIES[0], a, b)
        run(FAMILIES[1], a, b)
        run(FAMILIES[0], a[:16], b)
        assert [(str(each.work.config).split()[0], each.calls) for each in seen.runners] == [
            ("split_k", 3),
            ("stream_k", 1),
            ("split_k", 1),
        ]

    def test_operands_and_result_may_lie_anyhow(seen: Interpreted) -> None:
        config = FAMILIES[0]
        a, b = random(32, 64), random(48, 64, seed=1).mT
        wide = torch.full((32, 100), torch.nan, dtype=torch.float16)
        run(config, a, b, out=wide[:, 4:52])  # a part of a concatenation
        assert wide[:, :4].isnan().all() and wide[:, 52:].isnan().all()
        run(config, a, b, out=torch.empty(48, 32, dtype=torch.float16).mT)
        run(config, random(32, 128)[:, ::2], b)  # no layout describes it
        memory = torch.empty(32 * 48 + 1, dtype=torch.float16)
        run(config, a, b, out=memory[1:].view(32, 48))  # off what the kernel was promised
        assert sum(each.calls for each in seen.runners) == 4

    @pytest.mark.parametrize("how", ["a row", "a row repeated", "a matrix of one row", "one number"])
    def test_a_bias_may_come_as_inductor_expands_it(seen: Interpreted, how: str) -> None:
        row = random(45)
        given = {
            "a row": row,
            "a row repeated": row.expand(37, 45),
            "a matrix of one row": row[None],
            "one number": row[:1].expand(37, 45),
        }[how]
        run(FAMILIES[0], random(37, 75), random(75, 45, seed=1), given)
        assert sum(each.calls for each in seen.runners) == 1

    def test_what_the_kernels_do_not_compute_is_atens_and_said_once(
        seen: Interpreted, caplog: pytest.LogCaptureFixture
    ) -> None:
        a, b = random(32, 64), random(64, 48, seed=1)
        for _ in range(2):
            run(FAMILIES[0], a, b, random(32, 48))
        assert caplog.text.count("ATen computes what") == 1
        assert "not one row" in caplog.text
        caplog.clear()
        run(TILED.replace(split_k=64, family="split_k"), a, b)  # more parts than k has tiles
        assert "split_k" in caplog.text and "ATen computes" in caplog.text
        assert seen.runners == []

    def test_a_measurement_is_never_atens(monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(work: Work) -> Interpreted:
            raise NotBuiltError("it spills")

        a, b, bias = random(32, 64), random(64, 48, seed=1), random(48)
        out = torch.full((32, 48), torch.nan, dtype=torch.float16)
        text = config_op.to_text(FAMILIES[0])
        refused = config_op.ConfigRuns(device_of=lambda ordinal: H100, runner_of=refuse)  # type: ignore[arg-type]
        monkeypatch.setattr(config_op, "_runs", refused)
        with pytest.raises(NotImplementedError, match="it spills"):
            config_op.measurable(a, b, config=text, out=out)
        assert out.isnan().all()
        able = config_op.ConfigRuns(device_of=lambda ordinal: H100, runner_of=Interpreted().runner_of)
        monkeypatch.setattr(config_op, "_runs", able)
        config_op.measurable(bias, a, b, config=text, out=out)
        torch.testing.assert_close(out, torch.addmm(bias, a, b), rtol=2e-3, atol=2e-2)

    def test_where_there_is_no_gpu_aten_computes_it() -> None:
        run(FAMILIES[0], random(32, 64), random(64, 48, seed=1), random(48))
        run(FAMILIES[0], random(2, 32, 64), random(2, 64, 48, seed=1), random(48))
        out = torch.empty(32, 48, device="meta")
        assert OP(torch.empty(32, 64, device="meta"), torch.empty(64, 48, device="meta"), config="", out=out) is out
