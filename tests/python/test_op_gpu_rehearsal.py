"""The tests of the op on a GPU, rehearsed without one: on CPU tensors, kernels in Triton's interpreter, torch.cuda a
double. Numbers are right or wrong here as there; what a double cannot tell is missed, and that is tested too.

The interpreter must be chosen before triton is imported, so the module runs itself in a process of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from in_interpreter import IN_INTERPRETER, passes_in_the_interpreter

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

import gemm_tuner as gt
from gemm_tuner.compile import Compiled, compile_problems, why_dropped
from gpu import op_calls, op_cases
from gpu import test_op_gpu as on_gpu
from gpu.op_calls import Call
from gpu.op_cases import CONFIGS, QUANTIZED, VARIETIES, Case, Variety

H100 = gt.device("h100-sxm")

if not IN_INTERPRETER:

    def test_in_the_interpreter() -> None:
        passes_in_the_interpreter(__file__, at_least=60)

    def problem_of(case: Case) -> gt.GemmProblem:
        with on_gpu.allowing_tf32(case.dtype == "tf32"):
            return Call.of(case, "cpu").problem

    def test_the_sample_has_every_combination_once_and_every_variety() -> None:
        sample = op_cases.cases(every=False)
        floating = [each for each in sample if each.dtype in op_cases.DTYPES]
        assert len(floating) == len({(each.family, each.dtype, each.layout) for each in floating}) == 5 * 4 * 4
        assert {each.variety for each in floating} == set(VARIETIES)
        assert len(op_cases.cases(every=True)) == 80 * len(VARIETIES) + 100 * len(QUANTIZED)
        of = Counter(each.family for each in sample if gt.why_illegal(problem_of(each), each.config, H100))
        assert not of  # on a GPU that has all families nothing is skipped
        assert len({str(each) for each in sample}) == len(sample) == 80 + 50

    def test_the_sample_has_every_family_of_quantised_products_scaled_both_ways() -> None:
        sample = [each for each in op_cases.cases(every=False) if each.dtype in op_cases.QUANTIZED_DTYPES]
        scaled = [each for each in sample if each.dtype != "int8"]
        assert {each.variety for each in scaled} == set(QUANTIZED)
        assert len({(each.family, each.dtype, each.variety.scaling) for each in scaled}) == 5 * 4 * 2
        for of in op_cases.CONFIGS:
            assert {each.layout for each in sample if each.family == of} == set(op_cases.LAYOUTS)
        for dtype in op_cases.QUANTIZED_DTYPES:
            assert {each.layout for each in sample if each.dtype == dtype} == set(op_cases.LAYOUTS)
        wanted = {(each.dtype, each.variety.scaling, each.variety.out) for each in scaled}
        assert len(wanted) == 4 * 2 * 3

    def test_what_a_gpu_lacks_is_skipped_in_a_sentence() -> None:
        stage = on_gpu.Stage("cpu", gt.device("rtx-3060"), gt.use_records)
        with pytest.raises(pytest.skip.Exception, match=r"^tiled-float8_mixed-.*needs compute capability 89"):
            stage.call(Case("tiled", "float8_mixed", "nt", QUANTIZED[0]))

    def test_what_a_gpu_would_run_compiles_for_it_and_fits() -> None:
        wanted = [next(case for case in op_cases.cases(every=False) if case.family == family) for family in CONFIGS]
        quantized = [case for case in op_cases.cases(every=False) if case.dtype == "float8_mixed"]
        wanted += [quantized[0], quantized[-1]]
        asked = {problem_of(case): [case.config] for case in wanted}
        found = dict(compile_problems(asked, H100, kernel="gemm_tuner", workers=2))
        for case in wanted:
            result = found[problem_of(case)][case.config]
            assert isinstance(result, Compiled), result
            assert why_dropped(result.resources, problem_of(case), H100) is None, case

else:
    from doubles.interpreted_op import tuned_on_cpu
    from doubles.op_records import DEVICE
    from doubles.torch_cuda import torch_cuda
    from gpu import every_family

    SAMPLE = op_cases.cases(every=False)
    SMALL = Variety(24, 40, 56)
    LATEST = [Case("tiled", "float16", "nt", each) for each in VARIETIES if each.has_residual]
    pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")

    @pytest.fixture
    def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[on_gpu.Stage]:
        monkeypatch.setattr(on_gpu, "LONG", Variety(24, 16, 104))
        monkeypatch.setattr(on_gpu, "CALLS", 2)
        with torch_cuda():
            yield on_gpu.Stage("cpu", DEVICE, tuned_on_cpu)

    @pytest.fixture
    def stage_of_all(stage: on_gpu.Stage) -> on_gpu.Stage:
        return on_gpu.Stage("cpu", H100, partial(tuned_on_cpu, device=H100))

    def of_families(variety: Variety) -> list[Case]:
        families = [each for each in CONFIGS if each != "persistent_tma"]  # which an RTX 3060 does not have
        return [Case(each, "float16", "nt", variety) for each in families]

    @pytest.mark.parametrize("case", [Case("split_k", dtype, "tn", VARIETIES[2]) for dtype in op_cases.DTYPES], ids=str)
    def test_dtypes(case: Case, stage: on_gpu.Stage) -> None:
        on_gpu.test_every_family_dtype_and_layout(case, stage)

    @pytest.mark.parametrize("case", [each for each in SAMPLE if each.dtype in op_cases.QUANTIZED_DTYPES][::7], ids=str)
    def test_quantised_products(case: Case, stage_of_all: on_gpu.Stage) -> None:
        on_gpu.test_every_family_dtype_and_layout(case, stage_of_all)

    @pytest.mark.parametrize(
        "case",
        [
            Case(family, "float16", layout, variety)
            for variety in VARIETIES
            for family, layout in zip(CONFIGS, (*op_cases.LAYOUTS, "nt"), strict=True)
            if variety.has_residual or (family == "persistent_tma" and variety.batch)
            if op_cases.takes(family, variety)
        ],
        ids=str,
    )
    def test_residuals_and_batches(case: Case, stage_of_all: on_gpu.Stage) -> None:
        on_gpu.test_every_family_dtype_and_layout(case, stage_of_all)

    @pytest.mark.parametrize("variety", VARIETIES[3:], ids=str)
    def test_varieties(variety: Variety, stage: on_gpu.Stage) -> None:
        on_gpu.test_what_lies_oddly(Case("tiled", "bfloat16", "tn", variety), stage)

    def test_a_wrong_element_is_found_and_named(stage: on_gpu.Stage) -> None:
        case = Case("tiled", "float16", "nt", VARIETIES[2])
        (a, b, bias), problem, _ = stage.legal(case)
        want = op_calls.in_float64(a, b, bias, "silu")
        spoiled = want.half()
        op_calls.assert_close(spoiled, want, problem)
        for value in (0.5, float("nan")):
            spoiled[-1, -1] = want[-1, -1] + value
            with pytest.raises(AssertionError, match=r"^tiled-float16-nt-77x91x131.* 1 of 7007 elements"):
                op_calls.assert_close(spoiled, want, problem, case)

    @pytest.mark.parametrize(
        "case", [*LATEST, *(Case("tiled", "float8_mixed", "nt", each) for each in QUANTIZED)], ids=str
    )
    def test_what_is_forgotten_is_found(case: Case) -> None:
        call = Call.of(case, "cpu")
        op_calls.assert_close(call.wanted().to(case.out_dtype), call.wanted(), call.problem)
        lacking = [
            *[replace(call, bias=None)] * (call.bias is not None),
            *[replace(call, residual=None)] * (call.residual is not None),
            *[replace(call, scales=())] * len(call.scales),
        ]
        assert lacking
        for each in lacking:
            with pytest.raises(AssertionError, match="elements are wrong"):
                op_calls.assert_close(each.wanted().to(case.out_dtype), call.wanted(), call.problem)

    def test_a_call_that_the_library_answers_is_not_taken_for_ours(stage: on_gpu.Stage) -> None:
        (a, b, _), problem, config = stage.legal(Case("tiled", "float16", "nt", SMALL))
        with pytest.raises(AssertionError, match="was never met; met were"), stage.naming(config, problem):
            gt.matmul(a[:8], b)
        foreign = on_gpu.Stage("cpu", H100, stage.following)
        with pytest.raises(AssertionError, match=r"ran otherwise: no record"), foreign.naming(config, problem):
            gt.matmul(a, b)
        with pytest.raises(pytest.skip.Exception, match=r"persistent_tma-.*compute capability 90"):
            stage.legal(Case("persistent_tma", "float16", "nt", SMALL))

    @pytest.mark.parametrize("sizes", [(0, 8, 8, 0), (8, 8, 0, 3)], ids=str)
    def test_empty_products(sizes: tuple[int, int, int, int], stage: on_gpu.Stage) -> None:
        on_gpu.test_empty_products_are_atens(sizes, stage)

    @pytest.mark.parametrize("case", of_families(Variety(24, 40, 104, has_bias=True)), ids=str)
    def test_gradients(case: Case, stage: on_gpu.Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        tile = CONFIGS[case.family].replace(block_m=16, block_n=16, block_k=16)
        if case.family == "split_k":
            tile = tile.replace(split_k=2)
        monkeypatch.setitem(CONFIGS, case.family, tile)
        on_gpu.test_gradients_are_tuned_products_too(case, "relu", stage)

    def test_inside_torch(stage: on_gpu.Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        compile_as_it_is = torch.compile
        monkeypatch.setattr(torch, "compile", lambda f, **more: compile_as_it_is(f, backend="aot_eager", **more))
        on_gpu.test_a_compiled_program_has_the_op_in_it(stage)
        on_gpu.test_errors_come_before_any_launch(stage)
        on_gpu.test_records_of_another_device_or_kernel_are_never_launched(stage)

    def test_autocast(stage: on_gpu.Stage) -> None:
        on_gpu.test_autocast_launches_half_precision(stage)

    def test_distributed_training(stage: on_gpu.Stage, tmp_path: Path) -> None:
        on_gpu.test_distributed_training_of_one_process(stage, tmp_path)

    def test_streams(stage: on_gpu.Stage) -> None:
        on_gpu.test_a_launch_waits_for_what_is_before_it_on_the_current_stream(stage)
        on_gpu.test_several_streams_at_once("split_k", stage)

    def test_a_graph_that_computes_nothing_is_found_out(stage: on_gpu.Stage) -> None:
        case = Case("split_k", "float16", "nt", Variety(80, 24, 104))
        with pytest.raises(AssertionError, match=r"replay 1:.* elements are wrong"):
            on_gpu.test_a_captured_graph_computes_anew(case, stage)

    def test_every_family_is_launched_and_compared(
        stage: on_gpu.Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(gt, "use_records", tuned_on_cpu)
        monkeypatch.setattr(every_family, "compile_ahead", lambda *_: None)
        monkeypatch.setattr(every_family, "VARIETIES", every_family.VARIETIES[:1])
        monkeypatch.setattr(gt, "device", lambda: DEVICE)
        assert every_family.main([], device="cpu") == 0
        assert "20 products" in capsys.readouterr().out
        right = Call.wanted
        monkeypatch.setattr(Call, "wanted", lambda call: right(call) + 1)
        assert every_family.main([], device="cpu") == 1
        assert capsys.readouterr().out.count("elements are wrong") == 12  # the double: no copy engine, no float8
