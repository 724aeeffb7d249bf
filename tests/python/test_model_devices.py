"""The model on every device of the catalogue: it answers for each, and within what the device could do."""

from __future__ import annotations

import math

import pytest

import gemm_tuner as gt

PROBLEMS = (
    gt.GemmProblem(m=512, n=2048, k=2048, dtype="float16", layout="nt", alignment=16),
    gt.GemmProblem(m=1, n=8192, k=2048, dtype="bfloat16", layout="nt", alignment=16),
    gt.GemmProblem(m=64, n=64, k=16384, dtype="float16", alignment=16),
    gt.GemmProblem(m=77, n=333, k=1001, dtype="float32", alignment=1),
    gt.GemmProblem(
        m=512, n=512, k=512, dtype="float8_e4m3fn", out_dtype="bfloat16", op="scaled_mm", layout="nt", alignment=16
    ),
    gt.GemmProblem(m=512, n=512, k=512, dtype="bfloat16", op="mm_plus_mm", layout="tn", alignment=16),
    gt.GemmProblem(m=512, n=512, k=512, dtype="int8", out_dtype="int32", op="int_mm", layout="nt", alignment=16),
)
FIRST = {"bfloat16": 80, "float8_e4m3fn": 89, "int8": 80}  # compute capability
ELEMENT_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float8_e4m3fn": 1, "int8": 1, "int32": 4}
DEVICES = sorted(gt.catalogue())


def floor_us(p: gt.GemmProblem, d: gt.DeviceSpec) -> float:
    """What no kernel can beat: every byte once at peak bandwidth, every product at the fastest unit's peak."""
    a, b, c = (ELEMENT_BYTES[dtype] for dtype in (p.a_dtype, p.b_dtype, p.out_dtype))
    products = 2 if p.op == "mm_plus_mm" else 1
    dram_us = (products * (p.m * p.k * a + p.k * p.n * b) + p.m * p.n * c) / (d.bandwidth_gbs * 1e3)
    tensor = {"float16": d.fma.fp16, "bfloat16": d.fma.bf16, "float8_e4m3fn": d.fma.fp8, "int8": d.fma.int8}
    rate = max(tensor.get(p.a_dtype, 0), d.fma.fp32)
    return max(dram_us, products * p.m * p.n * p.k / (rate * d.available_sms * d.clock_mhz))


@pytest.mark.parametrize("slug", DEVICES)
def test_every_device_ranks_what_it_supports_and_nothing_else(slug: str) -> None:
    d = gt.device(slug)
    for p in PROBLEMS:
        candidates = gt.space(p, d)
        ranked = gt.rank(p, d, top_k=3)
        if d.compute_capability < FIRST.get(p.a_dtype, 0):
            assert candidates == [] and ranked == [], str(p)
            continue
        assert len(candidates) >= 8, str(p)
        assert len({prediction.config for prediction in ranked}) == 3, str(p)
        for prediction in ranked:
            assert prediction.config in candidates
            assert prediction.resources.smem_bytes <= d.smem_per_block_optin_bytes
            assert prediction.ctas_per_sm >= 1
            assert math.isfinite(prediction.latency_us) and prediction.latency_us > floor_us(p, d), str(p)


@pytest.mark.parametrize("slug", DEVICES)
def test_every_device_has_a_library_prediction(slug: str) -> None:
    d = gt.device(slug)
    for p in PROBLEMS:
        latency_us = gt.predict_library(p, d)
        assert math.isfinite(latency_us) and latency_us > floor_us(p, d), str(p)


@pytest.mark.parametrize("slug", [slug for slug in DEVICES if gt.device(slug).compute_capability < 80])
def test_before_80_the_library_is_predicted_far_ahead_on_16_bit_products(slug: str) -> None:
    """Triton has no tensor-core path there, the library has."""
    p = gt.GemmProblem(m=2048, n=2048, k=2048, dtype="float16", alignment=16)
    d = gt.device(slug)
    first = gt.rank(p, d, top_k=1)[0]
    assert first.resources.tensor_core_instructions == 0
    assert first.latency_us > 2 * gt.predict_library(p, d)


@pytest.mark.parametrize("slug", [slug for slug in DEVICES if "-mig-" in slug])
def test_a_mig_slice_is_never_faster_than_its_whole_gpu(slug: str) -> None:
    whole = gt.device(slug.split("-mig-")[0])
    for p in PROBLEMS:
        if gt.space(p, whole):
            assert gt.rank(p, gt.device(slug), top_k=1)[0].latency_us >= gt.rank(p, whole, top_k=1)[0].latency_us


@pytest.mark.parametrize("sms", [1, 2, 7, 27])
def test_an_sm_budget_never_makes_the_best_choice_faster(sms: int) -> None:
    d = gt.device("rtx-3060")
    for p in PROBLEMS:
        if gt.space(p, d):
            assert gt.rank(p, d.with_available_sms(sms), top_k=1)[0].latency_us >= gt.rank(p, d, top_k=1)[0].latency_us
