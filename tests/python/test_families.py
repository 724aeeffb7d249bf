"""The kernel families that run a fixed grid: what they are offered for, predicted, compiled to and launched with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gemm_tuner as gt
from gemm_tuner._core import estimate_resources, family_variants
from gemm_tuner.compile import Compiled, CompilePool, compile_candidates
from gemm_tuner.launches import launches_of
from gemm_tuner.placement import operands_of
from gemm_tuner.sources import FAMILIES, grids, kernel_id, kernel_sources, workspace_bytes
from gemm_tuner.tuning import _Job, present_versions

PROBLEM = gt.GemmProblem(m=640, n=1152, k=1024, layout="nt", epilogue="bias+gelu")
SCALED = PROBLEM.replace(op="scaled_mm", scaling="row", a_dtype="int8", b_dtype="int8")
ENDED = PROBLEM.replace(op="bmm", batch=3, epilogue="bias+gelu+residual")
CONFIG = gt.GemmConfig(block_m=128, block_n=64, block_k=32, num_warps=4, num_stages=3)
STREAM_K = CONFIG.replace(family="stream_k", ctas=56)
CONFIGS = {
    "tiled": CONFIG,
    "split_k": CONFIG.replace(family="split_k", split_k=4),
    "stream_k": STREAM_K,
    "persistent": CONFIG.replace(family="persistent", ctas=56),
    "persistent_tma": CONFIG.replace(family="persistent_tma", ctas=56),
}
ARCHITECTURES = {
    80: "a100-sxm4-40gb",
    86: "rtx-3060",
    89: "l4",
    90: "h100-sxm",
    100: "b200",
    120: "rtx-5060",
}  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> Iterator[CompilePool]:
    pytest.importorskip("triton")
    with CompilePool(workers=2) as pool:
        yield pool


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


# What they are offered for


def test_stream_k_is_offered_where_the_last_round_is_poor() -> None:
    device = gt.device("rtx-3060")
    (found,) = (each for each in family_variants(PROBLEM, CONFIG, device) if each.family == "stream_k")
    tiles = 5 * 18
    assert found.ctas % device.available_sms == 0  # as many on each SM
    assert found.ctas < tiles
    assert found.replace(family="tiled", ctas=0) == CONFIG
    full = PROBLEM.replace(n=64 * found.ctas, m=128)  # one tile for each CTA
    assert "stream_k" not in {each.family for each in family_variants(full, CONFIG, device)}


def test_the_grid_follows_the_sms_that_are_there() -> None:
    device = gt.device("rtx-3060")
    whole, few = (family_variants(PROBLEM, CONFIG, device.with_available_sms(sms)) for sms in (28, 14))
    assert [each.ctas for each in few] == [each.ctas // 2 for each in whole] != []


def test_no_cta_is_left_without_a_step() -> None:
    tiny = gt.GemmProblem(m=64, n=64, k=96)
    assert all(each.ctas <= 3 for each in family_variants(tiny, gt.GemmConfig(), gt.device("l4")))


def test_variants_are_of_tiled_configs_and_of_problems_with_such_kernels() -> None:
    device = gt.device("rtx-3060")
    assert family_variants(PROBLEM, CONFIGS["split_k"], device) == []
    sums = gt.GemmProblem(op="mm_plus_mm", m=640, n=1024, k=1024)
    assert family_variants(sums, CONFIG, device) == []
    assert "family tiled alone" in str(gt.why_illegal(sums, STREAM_K, device))


@pytest.mark.parametrize("bad", [{"family": "tiled", "ctas": 8}, {"family": "stream_k"}, {"ctas": -1}])
def test_a_grid_that_does_not_suit_the_family_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="ctas"):
        gt.GemmConfig(**bad)  # type: ignore[arg-type]


def test_configs_that_know_no_ctas_are_read() -> None:
    """As records were written before there were such families."""
    fields = CONFIG.to_dict()
    del fields["ctas"]
    assert gt.GemmConfig.from_dict(fields) == CONFIG


def test_persistent_families_are_offered_beyond_one_round() -> None:
    problem = PROBLEM.replace(epilogue="none")
    several, one = problem.replace(m=4096, n=4096), problem.replace(m=128, n=128)
    h100, l4 = gt.device("h100-sxm"), gt.device("l4")
    assert {"persistent", "persistent_tma"} <= {each.family for each in family_variants(several, CONFIG, h100)}
    assert "persistent_tma" not in {each.family for each in family_variants(several, CONFIG, l4)}
    assert not {"persistent", "persistent_tma"} & {each.family for each in family_variants(one, CONFIG, h100)}


@pytest.mark.parametrize(
    ("changes", "device", "why"),
    [
        ({}, "l4", "from compute capability 90 on, and NVIDIA L4 has 89"),
        ({"alignment": 4}, "h100-sxm", "multiples of 16 bytes, got alignment=4 of float16"),
    ],
)
def test_what_the_copy_engine_cannot_fetch(changes: dict[str, object], device: str, why: str) -> None:
    problem = PROBLEM.replace(**changes)  # type: ignore[arg-type]
    assert why in str(gt.why_illegal(problem, CONFIGS["persistent_tma"], gt.device(device)))


def test_a_race_of_our_kernels_has_them_as_variants_of_its_tiles() -> None:
    device = gt.device("rtx-3060")
    job = _Job(device, present_versions(device), "gemm_tuner", 4, None)
    assert {each.family for each in job.candidates(PROBLEM)} <= {"tiled", "split_k"}
    offered = job.variants(PROBLEM, [CONFIG])
    assert {each.replace(group_m=8) for each in family_variants(PROBLEM, CONFIG, device)} <= set(offered)
    inductors = job._replace(kernel="inductor").variants(PROBLEM, [CONFIG])
    assert {each.family for each in inductors} == {"tiled"}


# Predictions


def test_persistent_tiles_are_predicted_like_others_where_the_rounds_are_whole() -> None:
    device = gt.device("rtx-3060")
    problem = PROBLEM.replace(m=128 * 28, n=64 * 6)
    tiled, persistent = (gt.predict(problem, each, device) for each in (CONFIG, CONFIGS["persistent"].replace(ctas=84)))
    assert persistent.latency_us == tiled.latency_us
    assert (persistent.ctas, tiled.ctas) == (84, 28 * 6)


def test_stream_k_is_predicted_to_pay_where_one_tile_too_many_makes_a_round() -> None:
    device = gt.device("rtx-3060")
    one = gt.GemmProblem(m=128, n=64 * 28, k=16384, layout="nt")  # a tile for each SM
    more = one.replace(n=64 * 29)
    alone = CONFIG.replace(num_stages=4)
    shared = alone.replace(family="stream_k", ctas=28)
    assert gt.predict(one, shared, device).latency_us > gt.predict(one, alone, device).latency_us
    assert gt.predict(more, shared, device).latency_us < gt.predict(more, alone, device).latency_us
    assert gt.predict(more, shared, device).reduction_us > gt.predict(more, alone, device).reduction_us == 0


# Sources and launches


def test_an_empty_product_is_no_problem() -> None:
    """torch answers it without a kernel: zeros or the epilogue of them where k is 0, and nothing where m or n is."""
    for size in ("m", "n", "k"):
        with pytest.raises(ValueError, match=f"{size} must be between 1 and 2147483647, got 0"):
            gt.GemmProblem.from_dict({**PROBLEM.to_dict(), size: 0})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_kernel_of_its_name(family: str) -> None:
    assert re.fullmatch(rf"gemm_tuner::{family}@[0-9a-f]{{12}}", kernel_id(family))
    assert {source.module for source in kernel_sources(PROBLEM, CONFIGS[family])} == {family}


def test_the_workspace_of_stream_k_follows_its_grid() -> None:
    assert workspace_bytes(PROBLEM, STREAM_K) == 56 * 2 * 128 * 64 * 4
    assert grids(PROBLEM, STREAM_K) == ((56, 1, 1), (56, 8, 1))
    assert workspace_bytes(PROBLEM, CONFIG) == 0
    parts = next(each for each in operands_of(PROBLEM, parts_bytes=workspace_bytes(PROBLEM, STREAM_K)) if each.shared)
    assert (parts.name, parts.bytes) == ("parts", 56 * 2 * 128 * 64 * 4)


@pytest.mark.parametrize(
    "problem", [PROBLEM, ENDED, SCALED], ids=["a product", "batched with a residual", "scaled integers"]
)
@pytest.mark.parametrize("compute_capability", ARCHITECTURES)
def test_every_family_compiles_everywhere_without_spilling(
    pool: CompilePool, cache_dir: Path, compute_capability: int, problem: gt.GemmProblem
) -> None:
    device = gt.device(ARCHITECTURES[compute_capability])
    assert device.compute_capability == compute_capability
    configs = [each for each in CONFIGS.values() if gt.why_illegal(problem, each, device) is None]
    for config, compiled in compile_candidates(problem, configs, device, pool=pool, cache_dir=cache_dir).items():
        assert isinstance(compiled, Compiled), (config, compiled)
        assert compiled.resources.tensor_core_instructions > 0
        assert [binary.resources.spill_bytes for binary in compiled.binaries] == [0] * len(compiled.binaries)
        assert compiled.kernel_id == kernel_id(config.family)
        predicted = estimate_resources(problem, config, compute_capability).smem_bytes
        assert predicted >= compiled.resources.smem_bytes
        exact = compute_capability != 100 and config.family != "persistent_tma"
        assert predicted == compiled.resources.smem_bytes or not exact
        fetches = config.family == "persistent_tma"  # each CTA writes two descriptors of 128 bytes
        assert compiled.binaries[0].global_scratch_bytes == (256 if fetches else 0)
        for launch, source in zip(launches_of(problem, compiled), kernel_sources(problem, config), strict=True):
            given = dict(zip((name for name, _ in source.signature), launch.arguments, strict=False))
            assert {name for name, argument in given.items() if argument is None} <= {"residual", "scale_a", "scale_b"}
            assert ("residual" in launch.arguments) == ("residual" in given and problem is ENDED)
