"""How candidates are launched: operands in memory, and arguments against the parameters of kernels really compiled."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from math import gcd
from pathlib import Path

import pytest

import gemm_tuner as gt
from gemm_tuner.checking import check_sources, tolerance
from gemm_tuner.compile import Compiled, CompilePool, Failed, compile_candidates, compile_checks
from gemm_tuner.launches import Launch, check_launches, launches_of
from gemm_tuner.placement import operands_of, placement
from gemm_tuner.sources import KernelSource, kernel_sources, workspace_bytes

SMALL = gt.GemmConfig(block_m=64, block_n=64, block_k=32, num_warps=4, num_stages=3)
SPLIT = SMALL.replace(family="split_k", split_k=4)
PROBLEM = gt.GemmProblem(m=500, n=512, k=768, layout="nt")
SCALED = gt.GemmProblem(m=64, n=64, k=64, op="scaled_mm", dtype="float8_e4m3fn", layout="nt", epilogue="bias")
ARCHITECTURES = {80: "a100-sxm4-40gb", 86: "rtx-3060", 90: "h100-sxm", 120: "rtx-5060"}
PTX_TYPE = {"i32": "u32", "i64": "u64", None: "u64"}  # pointers have 64 bits


@pytest.fixture(scope="module")
def pool() -> Iterator[CompilePool]:
    pytest.importorskip("triton")
    with CompilePool(workers=2) as pool:
        yield pool


@pytest.fixture(autouse=True)
def own_triton_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "triton"))


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


# Operands in memory


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("alignment", [1, 2, 8, 16])
@pytest.mark.parametrize("sizes", [(64, 64, 64), (63, 65, 67), (1, 24, 8)])
def test_rows_are_aligned_as_the_problem_says(sizes: tuple[int, int, int], alignment: int, layout: str) -> None:
    m, n, k = sizes
    problem = gt.GemmProblem(m=m, n=n, k=k, batch=3, op="bmm", layout=layout, alignment=alignment)
    place = placement(problem)
    assert min(gcd(16, place.a_pitch), gcd(16, place.b_pitch)) == alignment
    assert place.a_pitch >= (m if layout[0] == "t" else k)
    assert place.b_pitch >= (k if layout[1] == "t" else n)
    assert (place.a_strides[1 if layout[0] == "t" else 2], place.b_strides[1 if layout[1] == "t" else 2]) == (1, 1)


def test_contiguous_operands_stay_contiguous() -> None:
    place = placement(gt.GemmProblem(m=63, n=65, k=67, batch=2, op="bmm", layout="tn"))
    assert place.a_strides == (63 * 67, 1, 63)
    assert place.b_strides == (65 * 67, 65, 1)


def test_operands_by_name_size_and_content() -> None:
    bytes_of = {buffer.name: (buffer.bytes, buffer.fill) for buffer in operands_of(PROBLEM)}
    assert bytes_of == {
        "a": (500 * 768 * 2, "float16"),
        "b": (512 * 768 * 2, "float16"),
        "c": (500 * 512 * 2, "poison"),
        "expected": (500 * 512 * 4, "poison"),
        "verdict": (8, "zeros"),
    }
    assert {"bias", "scale_a", "scale_b"} <= {buffer.name for buffer in operands_of(SCALED)}
    by_row = {buffer.name: (buffer.bytes, buffer.fill) for buffer in operands_of(SCALED.replace(scaling="row", m=3))}
    assert (by_row["scale_a"], by_row["scale_b"]) == ((4 * 3, "float32"), (4 * 64, "float32"))
    assert "bias" in {buffer.name for buffer in operands_of(PROBLEM.replace(op="addmm"))}
    ended = {buffer.name: buffer for buffer in operands_of(PROBLEM.replace(epilogue="residual"))}
    assert ended["residual"].bytes == ended["c"].bytes
    assert "residual" not in {buffer.name for buffer in operands_of(PROBLEM)}
    (parts,) = (
        each for each in operands_of(PROBLEM, parts_bytes=workspace_bytes(PROBLEM, SPLIT)) if each.name == "parts"
    )
    assert parts.bytes == 4 * 500 * 512 * 4
    two = {buffer.name for buffer in operands_of(PROBLEM.replace(op="mm_plus_mm"))}
    assert {"a2", "b2"} <= two


# Arguments


@pytest.mark.parametrize(
    ("problem", "compute_capability"),
    [(PROBLEM, 86), (PROBLEM, 90), (PROBLEM.replace(op="addmm"), 86), (SCALED, 90)],
    ids=str,
)
def test_arguments_are_the_parameters_of_the_compiled_kernels(
    pool: CompilePool, cache_dir: Path, problem: gt.GemmProblem, compute_capability: int
) -> None:
    device = gt.device(ARCHITECTURES[compute_capability])
    for config, compiled in compile_candidates(problem, [SMALL, SPLIT], device, pool=pool, cache_dir=cache_dir).items():
        assert isinstance(compiled, Compiled)
        launches = launches_of(problem, compiled)
        for source, launch in zip(kernel_sources(problem, config), launches, strict=True):
            _assert_matches_ptx(source, launch, compute_capability)


def _assert_matches_ptx(source: KernelSource, launch: Launch, compute_capability: int) -> None:
    from gemm_tuner.compile_job import compile_kernel

    kernel = compile_kernel(source, compute_capability)
    entry = re.search(r"\.entry (\w+)\((.*?)\)", kernel.asm["ptx"], re.DOTALL)
    assert entry is not None
    assert entry[1] == launch.entry
    wanted = re.findall(r"\.param \.(\w+)", entry[2])
    given = [PTX_TYPE[each[0]] if isinstance(each, tuple) else PTX_TYPE[None] for each in launch.arguments]
    assert given == wanted
    assert kernel.metadata.global_scratch_size == kernel.metadata.profile_scratch_size == 0
    assert f".reqntid {32 * launch.num_warps}" in kernel.asm["ptx"]


def test_a_launch_in_full(pool: CompilePool, cache_dir: Path) -> None:
    problem = PROBLEM.replace(alignment=8)
    (compiled,) = compile_candidates(problem, [SMALL], gt.device("l4"), pool=pool, cache_dir=cache_dir).values()
    assert isinstance(compiled, Compiled)
    (launch,) = launches_of(problem, compiled)
    assert launch.grid == (8 * 8, 1, 1)
    assert launch.smem_bytes == compiled.resources.smem_bytes > 0
    sizes = [("i32", 500), ("i32", 512), ("i32", 768), ("i32", 776), ("i32", 776), ("i32", 512)]
    strides = [("i64", 500 * 776), ("i64", 512 * 776), ("i64", 500 * 512)]
    assert list(launch.arguments) == ["a", "b", "c", *[None] * 4, *sizes, *strides, None, None]


# The kernels that check


@pytest.mark.parametrize("compute_capability", [80, 86, 90, 120])
def test_checks_compile_everywhere_and_do_not_spill(
    pool: CompilePool, cache_dir: Path, compute_capability: int
) -> None:
    problems = [
        PROBLEM.replace(epilogue="bias+gelu"),
        PROBLEM.replace(m=3, layout="tn", epilogue="bias+gelu"),  # the same kernels: no size is compiled in
        PROBLEM.replace(op="mm_plus_mm"),
        gt.GemmProblem(m=64, n=64, k=64, dtype="float32", epilogue="silu"),
        gt.GemmProblem(m=64, n=64, k=64, dtype="bfloat16"),
        gt.GemmProblem(m=64, n=64, k=64, op="int_mm", dtype="int8", layout="nt"),
    ]
    if compute_capability >= 89:
        problems.append(SCALED)
    device = gt.device(ARCHITECTURES[compute_capability])
    compiled = dict(compile_checks(problems, device, pool=pool, cache_dir=cache_dir))
    assert compiled[problems[0]] == compiled[problems[1]]
    for problem, binaries in compiled.items():
        assert not isinstance(binaries, Failed), binaries
        reference, compare = check_launches(problem, binaries)
        assert (reference.entry, compare.entry) == ("reference", "compare")
        assert [binary.resources.spill_bytes for binary in binaries] == [0, 0]
        assert (binaries[0].resources.tensor_core_instructions > 0) == (problem.a_dtype == "int8")
        if compute_capability in (86, 90):
            for source, launch in zip(check_sources(problem), (reference, compare), strict=True):
                _assert_matches_ptx(source, launch, compute_capability)


def test_what_compare_is_told() -> None:
    from gemm_tuner._core import KernelResources
    from gemm_tuner.binary_cache import Binary

    binary = Binary("double", 4, KernelResources(), 0.0, b"")
    reference, compare = check_launches(PROBLEM, [binary, binary])
    assert reference.grid == (8 * 8, 1, 1)
    assert compare.grid == (63, 1, 1)  # 256,000 elements by 4,096
    absolute, relative = tolerance(PROBLEM)
    numbers = [struct.unpack("<i", struct.pack("<f", each))[0] for each in (absolute, relative)]
    assert list(compare.arguments[:4]) == ["c", "expected", "verdict", ("i64", 256_000)]
    assert list(compare.arguments[4:]) == [("i32", numbers[0]), ("i32", numbers[1]), None, None]


def test_tolerances_grow_with_k_and_with_coarser_types() -> None:
    def absolute(k: int, dtype: str, precision: str = "ieee") -> float:
        return tolerance(gt.GemmProblem(m=64, n=64, k=k, dtype=dtype, precision=precision)).absolute

    assert absolute(64, "float16") < absolute(4096, "float16") < absolute(65536, "float16")
    assert absolute(4096, "float32") < absolute(4096, "float32", "tf32")
    assert absolute(4096, "float16") < absolute(4096, "float8_e4m3fn")
    assert tolerance(gt.GemmProblem(m=64, n=64, k=64, op="int_mm", dtype="int8")) == (0, 0)


def test_what_cannot_be_checked_says_why() -> None:
    with pytest.raises(ValueError, match="takes no gelu"):
        check_sources(gt.GemmProblem(m=64, n=64, k=64, op="int_mm", dtype="int8", epilogue="gelu"))
