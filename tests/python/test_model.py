"""The model by exact small cases, worked out by hand, and by what must hold for every problem, config and device."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import gemm_tuner as gt

# a device of round numbers: 10 SMs at 1000 MHz (1000 clocks a microsecond), 256 multiply-adds a clock and SM
ROUND = gt.DeviceSpec(
    name="a device of round numbers",
    compute_capability=86,
    sm_count=10,
    clock_mhz=1000,
    bandwidth_gbs=100,
    l2_bytes=1 << 40,
    smem_per_sm_bytes=102400,
    smem_per_block_optin_bytes=101376,
    max_threads_per_sm=1536,
    max_ctas_per_sm=16,
    fma=gt.FmaRates(fp16=256, bf16=256, tf32=128, int8=1024, fp32=128),
    source="catalogue",
)
# nothing costs anything but the tensor cores
TENSOR_ONLY = gt.ModelConstants(
    launch_us=0,
    memory_latency_clk=0,
    l2_bytes_per_clk_per_sm=1e12,
    dram_efficiency=1e12,
    smem_bytes_per_clk=1e12,
    tensor_efficiency=1,
    mma_per_sm_in_flight=1,
    iteration_clk=0,
    load_issue_clk=0,
    cta_clk=0,
    store_bytes_per_clk_per_sm=1e12,
    short_row_bytes=0,
    narrow_load_clk=0,
    contention=0,
)
CONFIG = gt.GemmConfig(block_m=64, block_n=64, block_k=32, num_warps=4, num_stages=3)
FREE = gt.KernelResources(registers_per_thread=64, smem_bytes=16384, tensor_core_instructions=1)


def problem(m: int, n: int, k: int, **rest: Any) -> gt.GemmProblem:
    return gt.GemmProblem(m=m, n=n, k=k, **rest)


def test_one_tile_per_sm_takes_the_tensor_cores_time() -> None:
    # 10 tiles of 64x64 on 10 SMs: 64*64*320/256 = 5120 clocks
    predicted = gt.predict(problem(640, 64, 320), CONFIG, ROUND, FREE, TENSOR_ONLY)
    assert (predicted.ctas, predicted.ctas_per_sm, predicted.waves) == (10, 5, 10 / 50)
    assert predicted.latency_us == pytest.approx(5.120)
    assert predicted.tensor_bound_us == pytest.approx(5.120)


def test_one_tile_more_than_the_sms_doubles_the_busiest_ones_share() -> None:
    predicted = gt.predict(problem(704, 64, 320), CONFIG, ROUND, FREE, TENSOR_ONLY)
    assert predicted.latency_us == pytest.approx(2 * 5.120)
    assert predicted.sm_utilization == pytest.approx(11 / 20)


def test_partial_tiles_cost_as_much_as_whole_ones() -> None:
    whole = gt.predict(problem(128, 128, 64), CONFIG, ROUND, FREE, TENSOR_ONLY)
    partial = gt.predict(problem(65, 65, 33), CONFIG, ROUND, FREE, TENSOR_ONLY)
    assert partial.latency_us == whole.latency_us


def test_without_tensor_core_instructions_the_cuda_cores_do_it() -> None:
    slow = FREE.replace(tensor_core_instructions=0)
    predicted = gt.predict(problem(640, 64, 320), CONFIG, ROUND, slow, TENSOR_ONLY)
    assert predicted.latency_us == pytest.approx(64 * 64 * 320 / 128 / 1000)


def test_a_single_warp_has_one_tensor_core_of_four() -> None:
    one = gt.predict(problem(640, 64, 320), CONFIG.replace(num_warps=1), ROUND, FREE, TENSOR_ONLY)
    assert one.latency_us == pytest.approx(4 * 5.120)


def test_dram_moves_each_operand_once_where_l2_keeps_them() -> None:
    m, n, k = 640, 128, 320
    predicted = gt.predict(problem(m, n, k), CONFIG, ROUND)
    assert predicted.dram_bytes == pytest.approx(2 * (m * k + k * n + m * n), rel=1e-3)
    assert predicted.dram_bound_us == pytest.approx(
        predicted.dram_bytes / (100e3 * gt.ModelConstants().dram_efficiency)
    )


def test_a_small_l2_reads_operands_again() -> None:
    big = problem(8192, 8192, 8192)
    kept = gt.predict(big, CONFIG, ROUND)
    lost = gt.predict(big, CONFIG, ROUND.replace(l2_bytes=1 << 20))
    assert lost.dram_bytes > 1.5 * kept.dram_bytes


def test_split_k_shortens_the_loop_and_pays_for_its_reduction() -> None:
    few_tiles = problem(64, 64, 32768)
    whole = gt.predict(few_tiles, CONFIG, ROUND)
    split = gt.predict(few_tiles, CONFIG.replace(family="split_k", split_k=8), ROUND)
    assert split.ctas == 8 * whole.ctas
    assert split.main_loop_us < whole.main_loop_us / 4
    assert whole.reduction_us == 0 < split.reduction_us


def test_a_sum_of_two_products_takes_less_than_both_apart_and_more_than_one() -> None:
    one = problem(512, 2048, 512)
    both = gt.predict(one.replace(op="mm_plus_mm"), CONFIG, ROUND, FREE)
    alone = gt.predict(one, CONFIG, ROUND, FREE)
    assert alone.latency_us < both.latency_us < 2 * alone.latency_us
    assert both.prologue_epilogue_us == alone.prologue_epilogue_us
    assert both.tensor_bound_us == 2 * alone.tensor_bound_us
    assert gt.predict_library(one.replace(op="mm_plus_mm"), ROUND) > 2 * gt.predict_library(one, ROUND)


def test_spilling_costs() -> None:
    spilling = FREE.replace(spill_bytes=64)
    p = problem(4096, 4096, 4096)
    assert gt.predict(p, CONFIG, ROUND, spilling).latency_us > gt.predict(p, CONFIG, ROUND, FREE).latency_us


def test_terms_add_up() -> None:
    p = gt.predict(problem(512, 512, 4096), CONFIG.replace(family="split_k", split_k=4), ROUND)
    parts = p.launch_us + p.prologue_epilogue_us + p.main_loop_us + p.reduction_us
    assert p.latency_us == pytest.approx(parts)


def test_a_config_that_does_not_fit_is_refused_with_its_numbers() -> None:
    huge = gt.GemmConfig(block_m=256, block_n=256, block_k=64, num_warps=8, num_stages=4)
    with pytest.raises(ValueError, match=r"does not fit on a device of round numbers: it needs \d{6} bytes"):
        gt.predict(problem(512, 512, 512), huge, ROUND)
    why = gt.why_illegal(problem(512, 512, 512), huge, ROUND)
    assert why is not None and "101376" in why


# -- what must hold everywhere ------------------------------------------------------------------------------------

sizes = st.integers(1, 20_000)
problems = st.builds(
    gt.GemmProblem,
    op=st.sampled_from(["mm", "mm_plus_mm"]),
    m=sizes,
    n=sizes,
    k=sizes,
    dtype=st.sampled_from(["float16", "bfloat16", "float32", "int8"]),
    layout=st.sampled_from(["nn", "nt", "tn", "tt"]),
    alignment=st.sampled_from([1, 2, 4, 8, 16]),
)
configs = st.builds(
    lambda m, n, k, warps, stages, group, split: gt.GemmConfig(
        block_m=m, block_n=n, block_k=k, num_warps=warps, num_stages=stages, group_m=group, split_k=split
    ),
    st.sampled_from([16, 32, 64, 128, 256]),
    st.sampled_from([16, 32, 64, 128, 256]),
    st.sampled_from([32, 64, 128]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 6),
    st.sampled_from([1, 4, 8, 16]),
    st.sampled_from([1, 1, 2, 4]),
)
devices = st.builds(
    lambda sms, clock, bandwidth, l2: ROUND.replace(
        sm_count=sms, available_sms=sms, clock_mhz=clock, bandwidth_gbs=bandwidth, l2_bytes=l2
    ),
    st.integers(1, 200),
    st.integers(300, 3000),
    st.floats(20, 8000),
    st.integers(1 << 18, 1 << 27),
)


def latency_us(p: gt.GemmProblem, c: gt.GemmConfig, d: gt.DeviceSpec) -> float:
    assume(gt.why_illegal(p, c, d) is None)
    return gt.predict(p, c, d).latency_us


def not_slower(faster: float, slower: float) -> bool:
    return faster <= slower * (1 + 1e-9)


@settings(max_examples=400)
@given(problems, configs, devices, st.integers(1, 100))
def test_more_sms_are_never_slower(p: gt.GemmProblem, c: gt.GemmConfig, d: gt.DeviceSpec, more: int) -> None:
    sms = d.sm_count + more
    assert not_slower(latency_us(p, c, d.replace(sm_count=sms, available_sms=sms)), latency_us(p, c, d))


@settings(max_examples=300)
@given(problems, configs, devices, st.floats(1, 4))
def test_more_bandwidth_is_never_slower(p: gt.GemmProblem, c: gt.GemmConfig, d: gt.DeviceSpec, gain: float) -> None:
    assert not_slower(latency_us(p, c, d.replace(bandwidth_gbs=d.bandwidth_gbs * gain)), latency_us(p, c, d))


@settings(max_examples=300)
@given(problems, configs, devices, st.integers(0, 1 << 27))
def test_more_l2_is_never_slower(p: gt.GemmProblem, c: gt.GemmConfig, d: gt.DeviceSpec, more: int) -> None:
    assert not_slower(latency_us(p, c, d.replace(l2_bytes=d.l2_bytes + more)), latency_us(p, c, d))


@settings(max_examples=600)
@given(problems, configs, devices, st.sampled_from(["m", "n", "k"]), st.integers(1, 5000))
def test_a_larger_problem_is_never_faster(
    p: gt.GemmProblem, c: gt.GemmConfig, d: gt.DeviceSpec, side: str, more: int
) -> None:
    larger = p.replace(**{side: getattr(p, side) + more})
    assert not_slower(latency_us(p, c, d), latency_us(larger, c, d))


@settings(max_examples=200)
@given(problems, configs, devices)
def test_predictions_are_finite_and_positive(p: gt.GemmProblem, c: gt.GemmConfig, d: gt.DeviceSpec) -> None:
    assume(gt.why_illegal(p, c, d) is None)
    predicted = gt.predict(p, c, d)
    assert all(math.isfinite(v) and v >= 0 for v in predicted.to_dict().values() if isinstance(v, float))
    assert predicted.latency_us > 0 and predicted.ctas_per_sm >= 1


@settings(max_examples=100, deadline=None)
@given(problems, devices)
def test_the_space_is_legal_and_never_empty(p: gt.GemmProblem, d: gt.DeviceSpec) -> None:
    found = gt.space(p, d)
    if not found:
        assert p.op == "mm_plus_mm" and p.k <= 32
        return
    assert len(set(found)) == len(found)
    assert all(gt.why_illegal(p, c, d) is None for c in found)
    assert gt.rank(p, d, top_k=1)
