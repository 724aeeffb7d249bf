"""The space is trimmed by the problem's size and by the SMs that are really there; rank orders what is left."""

from __future__ import annotations

import pytest

import gemm_tuner as gt


@pytest.fixture(scope="module")
def rtx_3060() -> gt.DeviceSpec:
    return gt.device("rtx-3060")


def tiles(p: gt.GemmProblem, c: gt.GemmConfig) -> int:
    return -(-p.m // c.block_m) * -(-p.n // c.block_n) * p.batch


def test_blocks_do_not_outgrow_the_problem(rtx_3060: gt.DeviceSpec) -> None:
    p = gt.GemmProblem(m=16, n=4096, k=4096)
    assert {c.block_m for c in gt.space(p, rtx_3060)} == {16}
    assert max(c.block_n for c in gt.space(p, rtx_3060)) > 64


def test_split_k_is_offered_only_below_one_wave(rtx_3060: gt.DeviceSpec) -> None:
    few, many = gt.GemmProblem(m=64, n=64, k=16384), gt.GemmProblem(m=4096, n=4096, k=4096)
    assert any(c.split_k > 1 for c in gt.space(few, rtx_3060))
    assert all(c.split_k == 1 for c in gt.space(many, rtx_3060))
    assert gt.rank(few, rtx_3060, top_k=1)[0].config.split_k > 1


def test_a_tile_that_leaves_sms_idle_goes_where_a_smaller_one_does_not(rtx_3060: gt.DeviceSpec) -> None:
    # 16 tiles of 128x128 keep 16 of 28 SMs busy; 32 of 128x64 need two rounds of 28; the smaller sizes balance
    p = gt.GemmProblem(m=512, n=512, k=4096)
    blocks = {(c.block_m, c.block_n) for c in gt.space(p, rtx_3060)}
    assert (256, 256) not in blocks and (256, 128) not in blocks
    assert (64, 64) in blocks
    few_sms = {(c.block_m, c.block_n) for c in gt.space(p, rtx_3060.with_available_sms(4))}
    assert (128, 128) in few_sms


def test_the_budget_of_sms_changes_the_choice(rtx_3060: gt.DeviceSpec) -> None:
    p = gt.GemmProblem(m=512, n=1024, k=4096, layout="nt")
    whole, slice_ = gt.rank(p, rtx_3060, top_k=1)[0], gt.rank(p, rtx_3060.with_available_sms(4), top_k=1)[0]
    assert tiles(p, slice_.config) <= tiles(p, whole.config)
    assert slice_.latency_us > 4 * whole.latency_us


def test_order_of_tiles_is_searched_only_where_it_matters(rtx_3060: gt.DeviceSpec) -> None:
    small, large = gt.GemmProblem(m=512, n=512, k=512), gt.GemmProblem(m=8192, n=8192, k=8192)
    assert {c.group_m for c in gt.space(small, rtx_3060)} == {8}
    assert len({c.group_m for c in gt.space(large, rtx_3060)}) == 3


def test_rank_gives_each_tile_one_place(rtx_3060: gt.DeviceSpec) -> None:
    ranked = gt.rank(gt.GemmProblem(m=8192, n=8192, k=8192), rtx_3060, top_k=8)
    assert len({p.config.replace(group_m=8) for p in ranked}) == 8
    assert [p.latency_us for p in ranked] == sorted(p.latency_us for p in ranked)


def test_rank_of_given_configs_orders_just_those(rtx_3060: gt.DeviceSpec) -> None:
    p = gt.GemmProblem(m=1024, n=1024, k=1024)
    given = [gt.GemmConfig(block_m=b, block_n=b, block_k=32, num_stages=3) for b in (16, 32, 64, 128)]
    too_large = gt.GemmConfig(block_m=256, block_n=256, block_k=128, num_stages=4, num_warps=8)
    ranked = gt.rank(p, rtx_3060, top_k=8, configs=[*given, too_large])
    assert {r.config for r in ranked} == set(given)
    assert ranked == gt.rank(p, rtx_3060, top_k=8, configs=[too_large, *reversed(given)])


@pytest.mark.parametrize(
    ("dtype", "device", "why"),
    [("float8_e4m3fn", "rtx-3060", "float8_e4m3fn needs compute capability 89"), ("bfloat16", "t4", "bfloat16 needs")],
)
def test_a_dtype_that_the_device_lacks_is_named(dtype: str, device: str, why: str) -> None:
    p = gt.GemmProblem(m=256, n=256, k=256, dtype=dtype)
    assert gt.space(p, gt.device(device)) == []
    sentence = gt.why_illegal(p, gt.GemmConfig(), gt.device(device))
    assert sentence is not None and why in sentence


def test_top_k_below_one_is_refused(rtx_3060: gt.DeviceSpec) -> None:
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        gt.rank(gt.GemmProblem(m=1, n=1, k=1), rtx_3060, top_k=0)
