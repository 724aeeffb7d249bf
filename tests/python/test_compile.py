"""Candidates really compiled, for architectures that are not here; the cache; what a broken compiler costs."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gemm_tuner as gt
from gemm_tuner.binary_cache import Binary, BinaryCache
from gemm_tuner.compile import (
    Compiled,
    CompilePool,
    Failed,
    compile_candidates,
    compile_problems,
    why_dropped,
)
from gemm_tuner.errors import TritonMissingError
from gemm_tuner.settings import settings
from gemm_tuner.sources import kernel_id, kernel_sources

HERE = Path(__file__).parent
PROBLEM = gt.GemmProblem(m=512, n=512, k=512)
SMALL = gt.GemmConfig(block_m=64, block_n=64, block_k=32, num_warps=4, num_stages=3)
SPILLS = gt.GemmConfig(block_m=256, block_n=128, block_k=32, num_warps=4, num_stages=3)
SPLIT = SMALL.replace(family="split_k", split_k=4)


@pytest.fixture(scope="module")
def pool() -> Iterator[CompilePool]:
    pytest.importorskip("triton")
    with CompilePool(workers=2) as pool:
        yield pool


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


def only(results: dict[gt.GemmConfig, Compiled | Failed]) -> Compiled:
    (result,) = results.values()
    assert isinstance(result, Compiled), result
    return result


def test_resources_are_the_compilers_own(pool: CompilePool, cache_dir: Path) -> None:
    device = gt.device("rtx-3060")
    results = compile_candidates(PROBLEM, [SMALL, SPILLS, SPLIT], device, pool=pool, cache_dir=cache_dir)
    assert list(results) == [SMALL, SPILLS, SPLIT]
    small, spills, split = (result for result in results.values() if isinstance(result, Compiled))
    assert small.resources.smem_bytes == 16384
    assert small.resources.tensor_core_instructions > 0
    assert 32 <= small.resources.registers_per_thread <= 255
    assert small.resources.spill_bytes == 0
    assert why_dropped(small.resources, PROBLEM, device) is None
    assert spills.resources.spill_bytes > 0
    assert "spills" in str(why_dropped(spills.resources, PROBLEM, device))
    assert [binary.entry for binary in split.binaries] == ["split_k", "add_parts"]
    assert all(binary.cubin.startswith(b"\x7fELF") for binary in (*small.binaries, *split.binaries))
    assert small.kernel_id == kernel_id("tiled")


def test_a_second_time_comes_from_disk(pool: CompilePool, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = gt.device("rtx-3060")
    before = compile_candidates(PROBLEM, [SMALL, SPLIT], device, pool=pool, cache_dir=cache_dir)

    def nobody(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(pool.workers, "run", nobody)
    assert compile_candidates(PROBLEM, [SMALL, SPLIT], device, pool=pool, cache_dir=cache_dir) == before
    with pytest.raises(AssertionError, match="compiled again"):  # another architecture is another binary
        compile_candidates(PROBLEM, [SMALL], gt.device("l4"), pool=pool, cache_dir=cache_dir)


def test_a_damaged_entry_is_reported_and_compiled_again(
    pool: CompilePool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = gt.device("rtx-3060")
    before = only(compile_candidates(PROBLEM, [SMALL], device, pool=pool, cache_dir=tmp_path))
    (entry,) = tmp_path.rglob("*.json")
    for damage in (
        b"",
        b"\xff\x00",
        b"[]",
        entry.read_bytes()[:-200],
        entry.read_bytes().replace(b'"num_warps": 4', b'"num_warps": 8'),
    ):
        entry.write_bytes(damage)
        caplog.clear()
        after = only(compile_candidates(PROBLEM, [SMALL], device, pool=pool, cache_dir=tmp_path))
        assert after.resources == before.resources
        assert str(entry) in caplog.text
        caplog.clear()
        assert BinaryCache(tmp_path).read(entry.stem) is not None
        assert not caplog.records


def test_a_cache_that_cannot_be_written_changes_nothing_else(
    pool: CompilePool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING, "gemm_tuner"):
        result = compile_candidates(PROBLEM, [SMALL], gt.device("l4"), pool=pool, cache_dir=tmp_path / "file" / "below")
    assert only(result).resources.smem_bytes == 16384
    assert "not kept" in caplog.text


def test_turing_gets_no_tensor_core_code_and_is_told_why(pool: CompilePool, cache_dir: Path) -> None:
    device = gt.device("t4")
    compiled = only(compile_candidates(PROBLEM, [SMALL], device, pool=pool, cache_dir=cache_dir))
    assert compiled.resources.tensor_core_instructions == 0
    assert "no tensor-core code" in str(why_dropped(compiled.resources, PROBLEM, device))


def test_ieee_float32_is_not_asked_for_tensor_cores(pool: CompilePool, cache_dir: Path) -> None:
    problem, device = PROBLEM.replace(a_dtype="float32", b_dtype="float32", out_dtype="float32"), gt.device("rtx-3060")
    config = SMALL.replace(num_stages=2, block_k=16)
    compiled = only(compile_candidates(problem, [config], device, pool=pool, cache_dir=cache_dir))
    assert compiled.resources.tensor_core_instructions == 0
    assert why_dropped(compiled.resources, problem, device) is None


@pytest.mark.parametrize(("slug", "dtype"), [("l4", "float8_e4m3fn"), ("h100-sxm", "float16"), ("rtx-5060", "int8")])
def test_tensor_cores_are_found_in_each_generations_machine_code(
    pool: CompilePool, cache_dir: Path, slug: str, dtype: str
) -> None:
    problem = gt.GemmProblem(
        m=512, n=512, k=512, dtype=dtype, layout="nt", op={"int8": "int_mm", "float16": "mm"}.get(dtype, "scaled_mm")
    )
    compiled = only(compile_candidates(problem, [SMALL], gt.device(slug), pool=pool, cache_dir=cache_dir))
    assert compiled.resources.tensor_core_instructions > 0


def test_memory_beyond_the_device_is_a_reason(pool: CompilePool, cache_dir: Path) -> None:
    device, large = (
        gt.device("rtx-3060"),
        SMALL.replace(block_m=128, block_n=128, block_k=64, num_warps=8, num_stages=5),
    )
    compiled = only(compile_candidates(PROBLEM, [large], device, pool=pool, cache_dir=cache_dir))
    assert compiled.resources.smem_bytes > device.smem_per_block_optin_bytes
    assert "shared memory" in str(why_dropped(compiled.resources, PROBLEM, device))


def test_what_the_compiler_refuses_fails_with_its_reason(pool: CompilePool, cache_dir: Path) -> None:
    problem = gt.GemmProblem(m=512, n=512, k=512, dtype="int8", op="int_mm")
    device = gt.device("rtx-3060")
    refused = SMALL.replace(block_k=16)
    (failed,) = compile_candidates(problem, [refused], device, pool=pool, cache_dir=cache_dir).values()
    assert isinstance(failed, Failed)
    assert "K >= 32" in failed.reason
    curved = problem.replace(epilogue="gelu")
    (failed,) = compile_candidates(curved, [SMALL], device, pool=pool, cache_dir=cache_dir).values()
    assert isinstance(failed, Failed)
    assert "takes no gelu" in failed.reason


def test_a_compiler_that_crashes_or_hangs_costs_that_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.syspath_prepend(str(HERE))
    crashes, hangs = SMALL.replace(block_k=128), SMALL.replace(num_warps=16)
    device = gt.device("rtx-3060")
    with CompilePool(workers=2, timeout_s=15.0, job="faulty_job:broken_compile") as pool:
        results = compile_candidates(PROBLEM, [crashes, SMALL, hangs, SPLIT], device, pool=pool, cache_dir=tmp_path)
    assert isinstance(results[SMALL], Compiled)
    assert isinstance(results[SPLIT], Compiled)
    crashed, hung = results[crashes], results[hangs]
    assert isinstance(crashed, Failed)
    assert isinstance(hung, Failed)
    assert "SIGSEGV" in crashed.reason
    assert "within 15 s" in hung.reason


def test_without_triton_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TritonMissingError, match="pip install triton"):
        compile_candidates(PROBLEM, [SMALL], gt.device("rtx-3060"), cache_dir=tmp_path)


def test_kernels_are_named_without_triton() -> None:
    program = (
        "import sys; from gemm_tuner.sources import kernel_id; print(kernel_id('tiled'), kernel_id('split_k'));"
        "assert 'triton' not in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [kernel_id("tiled"), kernel_id("split_k")]
    assert kernel_id("tiled").split("@")[1] != kernel_id("split_k").split("@")[1]
    with pytest.raises(ValueError, match="no kernel family is called 'stream_x'"):
        kernel_id("stream_x")


def test_what_only_inductor_computes_has_no_kernel_here() -> None:
    with pytest.raises(ValueError, match="no kernel of gemm_tuner computes mm_plus_mm; Inductor's template does"):
        kernel_sources(PROBLEM.replace(op="mm_plus_mm"), SMALL)


def test_parameters_are_those_of_the_kernels() -> None:
    pytest.importorskip("triton")
    import importlib

    for config in (SMALL, SPLIT):
        for source in kernel_sources(PROBLEM, config):
            function = getattr(importlib.import_module(f"gemm_tuner.kernels.{source.module}"), source.function)
            names = [name for name, _ in source.signature]
            assert function.arg_names[: len(names)] == names
            assert set(function.arg_names[len(names) :]) == set(dict(source.constants))


def test_alignment_is_promised_and_no_more() -> None:
    def promises(problem: gt.GemmProblem) -> dict[str, int]:
        return dict(kernel_sources(problem, SMALL)[0].divisible_by)

    even = promises(gt.GemmProblem(m=64, n=64, k=64))
    assert (even["a"], even["a_pitch"], even["k"], even["c"]) == (16, 16, 16, 16)
    odd = promises(gt.GemmProblem(m=63, n=65, k=67))
    assert odd == {"a": 2, "b": 2, "c": 2, "bias": 2, "residual": 2, "scale_a": 4, "scale_b": 4}
    padded = promises(gt.GemmProblem(m=63, n=65, k=67, alignment=8))
    assert (padded["a"], padded["b_pitch"], padded.get("k")) == (16, 8, None)


def test_a_binary_survives_json() -> None:
    import json

    from gemm_tuner._core import KernelResources

    binary = Binary("tiled", 4, KernelResources(registers_per_thread=80, smem_bytes=16384), 0.5, b"\x7fELF\x00")
    assert Binary.from_dict(json.loads(json.dumps(binary.to_dict()))) == binary


def test_the_cache_folder_is_where_the_environment_says(tmp_path: Path) -> None:
    assert settings({"GEMM_TUNER_CACHE_DIR": str(tmp_path)}).cache_dir == tmp_path
    assert settings({}).cache_dir.name == "gemm_tuner"


def test_problems_come_as_they_are_done_and_share_what_is_the_same(pool: CompilePool, tmp_path: Path) -> None:
    """Four problems in one queue: two need the same kernel, which is compiled once; one brings no config at all."""
    wider, other = PROBLEM.replace(n=4096), PROBLEM.replace(layout="nt")
    half = PROBLEM.replace(a_dtype="bfloat16", b_dtype="bfloat16", out_dtype="bfloat16")
    wanted = {PROBLEM: [SMALL], wider: [SMALL], other: [], half: [SMALL]}
    done = dict(compile_problems(wanted, gt.device("rtx-3060"), pool=pool, cache_dir=tmp_path))
    assert set(done) == set(wanted) and done[other] == {}
    assert done[PROBLEM] == done[wider]
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_a_small_gpus_code_is_assembled_for_a_large_one(pool: CompilePool, tmp_path: Path) -> None:
    """The 3060's PTX for an H100: mma.sync becomes HMMA there, where its own code has HGMMA of the warp group."""
    device, config = gt.device("rtx-3060"), SMALL.replace(num_stages=4)

    def machine_code(spec: gt.DeviceSpec, assemble_for: int | None) -> tuple[Compiled, set[str]]:
        results = compile_candidates(PROBLEM, [config], spec, assemble_for=assemble_for, pool=pool, cache_dir=tmp_path)
        return only(results), mnemonics(only(results).binaries[0].cubin)

    there, hopper = machine_code(device, 90)
    here, ampere = machine_code(device, None)
    _, own = machine_code(gt.device("h100-sxm"), None)
    assert "HMMA" in hopper and "HGMMA" not in hopper
    assert "HMMA" in ampere and "HGMMA" in own
    assert there.resources.smem_bytes == here.resources.smem_bytes
    assert there.resources.tensor_core_instructions > 0 and there.resources.spill_bytes == 0
    assert there.binaries[0].cubin != here.binaries[0].cubin
    assert len(list(tmp_path.rglob("*.json"))) == 3  # each is kept as what it is


def mnemonics(cubin: bytes) -> set[str]:
    from gemm_tuner.compile_job import disassembled

    return set(re.findall(r"\b[A-Z]+MMA\b", disassembled(cubin)))


def test_code_that_does_not_run_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"code of compute capability 8.9 does not run on 8.6"):
        compile_candidates(PROBLEM, [SMALL], gt.device("l4"), assemble_for=86, cache_dir=tmp_path)
    with pytest.raises(ValueError, match=r"that of 9.0 cannot be assembled for 12.0"):
        compile_candidates(PROBLEM, [SMALL], gt.device("h100-sxm"), assemble_for=120, cache_dir=tmp_path)
