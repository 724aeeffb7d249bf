"""Inductor's templates as kernels to compile and time: rendered for an absent device, compiled, interpreted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

import gemm_tuner as gt
from doubles.fused import run_interpreted
from doubles.graphs import Graph, gemm_of
from gemm_tuner.compile import Compiled, CompilePool, Failed, compile_candidates
from gemm_tuner.compile_job import compile_template
from gemm_tuner.inductor import _compat
from gemm_tuner.inductor.rendering import Rendered, render
from gemm_tuner.launches import launches_of
from gemm_tuner.placement import operands_of, placement

CONFIG = gt.GemmConfig(block_m=32, block_n=64, block_k=32, num_warps=4, num_stages=3, group_m=4)
MM = gt.GemmProblem(m=500, n=512, k=768, layout="nt")
# problem -> what the kernel's parameters point to, in order
PROBLEMS = {
    MM: ("a", "b", "c"),
    MM.replace(op="addmm"): ("bias", "a", "b", "c"),
    MM.replace(op="bmm", batch=3, layout="tn", alignment=4): ("a", "b", "c"),
    MM.replace(op="baddbmm", batch=3): ("bias", "a", "b", "c"),
    MM.replace(op="mm_plus_mm"): ("a", "b", "a2", "b2", "c"),
    MM.replace(epilogue="bias+gelu"): ("a", "b", "bias", "c"),
    MM.replace(epilogue="relu+residual"): ("a", "b", "residual", "c"),
    gt.GemmProblem(m=64, n=64, k=16384): ("a", "b", "c"),  # Inductor alone would split k, and leave the template out
    gt.GemmProblem(m=512, n=512, k=768, op="int_mm", dtype="int8", layout="nt"): ("a", "b", "c"),
    gt.GemmProblem(
        m=512, n=512, k=768, op="scaled_mm", scaling="row", dtype="int8", out_dtype="float16", layout="nt"
    ): ("a", "b", "scale_a", "scale_b", "c"),
}
SCALED = gt.GemmProblem(m=512, n=512, k=768, op="scaled_mm", dtype="float8_e4m3fn", layout="nt", epilogue="bias")
ODD = [
    gt.GemmProblem(m=45, n=70, k=37, dtype="float32", layout="nt"),
    gt.GemmProblem(m=45, n=70, k=64, dtype="float32", layout="tn", alignment=8),
    gt.GemmProblem(m=45, n=70, k=37, dtype="float32", op="addmm", layout="tt"),
    gt.GemmProblem(m=33, n=17, k=70, dtype="float32", op="bmm", batch=3, layout="nt"),
    gt.GemmProblem(m=33, n=17, k=70, dtype="float32", op="baddbmm", batch=2, epilogue="relu"),
    gt.GemmProblem(m=33, n=17, k=70, dtype="float32", op="bmm", batch=2, epilogue="relu+residual"),
    gt.GemmProblem(m=33, n=17, k=70, dtype="float32", op="mm_plus_mm"),
    gt.GemmProblem(m=1, n=40, k=50, epilogue="bias"),
]


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp() / name))


@pytest.fixture(scope="module")
def pool() -> Iterator[CompilePool]:
    with CompilePool(workers=2, timeout_s=300) as pool:
        yield pool


@pytest.mark.parametrize("problem", [*PROBLEMS, *ODD], ids=str)
def test_a_template_is_rendered_with_the_config(problem: gt.GemmProblem) -> None:
    rendered = render(problem, CONFIG, gt.device("rtx-3060"))
    gemm = gemm_of("rendered", rendered.text)
    written = {name: gemm.constants[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP_M", "EVEN_K")}
    assert written == {"BLOCK_M": 32, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP_M": 4, "EVEN_K": problem.k % 32 == 0}
    assert (gemm.num_warps, gemm.num_stages) == (4, 3)
    assert rendered.kernel_id in _compat.template_ids()
    name = {"mm_plus_mm": "mm_plus_mm", "bmm": "bmm", "baddbmm": "bmm"}.get(problem.op, "mm")
    assert rendered.kernel_id.startswith(f"inductor::{name}@")
    assert rendered.operands == PROBLEMS.get(problem, rendered.operands)
    assert rendered.grid == (-(-problem.m // 32) * -(-problem.n // 64), problem.batch, 1)


@pytest.mark.parametrize(("precision", "allowed"), [("tf32", True), ("ieee", False)])
def test_float32_is_computed_as_the_problem_says(precision: str, allowed: bool) -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    problem = gt.GemmProblem(m=512, n=512, k=512, dtype="float32", precision=precision)
    rendered = render(problem, CONFIG, gt.device("rtx-3060"))
    assert gemm_of("rendered", rendered.text).constants["ALLOW_TF32"] is allowed
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_what_templates_cannot_do_is_said() -> None:
    with pytest.raises(ValueError, match="do not split k"):
        render(MM, CONFIG.replace(split_k=4, family="split_k"), gt.device("rtx-3060"))


@pytest.mark.parametrize("problem", [MM, MM.replace(op="addmm"), MM.replace(op="bmm", batch=3)], ids=str)
def test_parameters_of_the_compiled_kernel(problem: gt.GemmProblem) -> None:
    kernel, template = compile_template(problem, CONFIG, gt.device("rtx-3060"))
    entry = re.search(r"\.entry (\w+)\((.*?)\)", kernel.asm["ptx"], re.DOTALL)
    assert entry is not None
    parameters = re.findall(r"\.param \.(\w+)", entry[2])
    assert parameters == ["u64"] * (len(template.operands) + 2)  # the two of Triton's scratch
    assert kernel.metadata.global_scratch_size == kernel.metadata.profile_scratch_size == 0


def test_workers_compile_templates_and_keep_them(pool: CompilePool, tmp_path: Path) -> None:
    """Also for another GPU, without torch being asked a second time; families that Inductor lacks say so."""
    device, split = gt.device("rtx-3060"), CONFIG.replace(family="split_k", split_k=4)
    addmm = MM.replace(op="addmm")

    def compiled(assemble_for: int | None = None) -> Compiled:
        results = compile_candidates(
            addmm,
            [CONFIG, split],
            device,
            kernel="inductor",
            assemble_for=assemble_for,
            pool=pool,
            cache_dir=tmp_path,
        )
        assert results[split] == Failed("Inductor has no template of the family split_k")
        found = results[CONFIG]
        assert isinstance(found, Compiled), found
        return found

    found = compiled()
    assert found.kernel_id == render(addmm, CONFIG, device).kernel_id
    assert found.resources.tensor_core_instructions > 0
    (launch,) = launches_of(addmm, found)
    assert launch.arguments == ("bias", "a", "b", "c", None, None)
    assert (launch.grid, launch.num_warps) == ((16 * 8, 1, 1), 4)
    assert launch.smem_bytes == found.resources.smem_bytes
    assert compiled() == found  # from disk
    assert compiled(assemble_for=90).binaries[0].cubin != found.binaries[0].cubin
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_scaled_float8_is_rendered_where_it_runs(pool: CompilePool, tmp_path: Path) -> None:
    results = compile_candidates(SCALED, [CONFIG], gt.device("l4"), kernel="inductor", pool=pool, cache_dir=tmp_path)
    found = results[CONFIG]
    assert isinstance(found, Compiled), found
    (launch,) = launches_of(SCALED, found)
    assert launch.arguments == ("a", "b", "scale_a", "scale_b", "bias", "c", None, None)


# What they compute


@pytest.mark.parametrize("problem", ODD, ids=str)
def test_templates_compute_the_problem_on_operands_as_they_are_placed(problem: gt.GemmProblem) -> None:
    rendered = render(problem, gt.GemmConfig(block_m=16, block_n=32, block_k=16), gt.device("rtx-3060"))
    given = operands(problem)
    (c,) = run_interpreted(launching(rendered, problem), [given[name] for name in rendered.operands if name != "c"])
    want = given["a"].double() @ given["b"].double()
    if problem.op == "mm_plus_mm":
        want = want + given["a2"].double() @ given["b2"].double()
    if "bias" in given:
        want = want + given["bias"].double()
    want = want.relu() if "relu" in problem.epilogue else want
    want = want + given["residual"].double() if "residual" in given else want
    tolerance = 1e-5 if problem.out_dtype == "float32" else 4e-3
    torch.testing.assert_close(c.double(), want, rtol=tolerance, atol=tolerance)


def operands(problem: gt.GemmProblem) -> dict[str, torch.Tensor]:
    """Random ones, by name, with the strides of `placement`."""
    generator = torch.Generator().manual_seed(1)
    place, dtype = placement(problem), getattr(torch, problem.a_dtype)
    first = 0 if problem.op in ("bmm", "baddbmm") else 1

    def matrix(sizes: tuple[int, ...], strides: tuple[int, ...]) -> torch.Tensor:
        made = torch.empty_strided(sizes[first:], strides[first:], dtype=dtype)
        return made.copy_(torch.rand(made.shape, generator=generator) * 2 - 1)

    made = {}
    for name in (buffer.name for buffer in operands_of(problem)):
        if name in ("a", "a2"):
            made[name] = matrix((problem.batch, problem.m, problem.k), place.a_strides)
        elif name in ("b", "b2"):
            made[name] = matrix((problem.batch, problem.k, problem.n), place.b_strides)
        elif name == "residual":
            sizes = (problem.batch, problem.m, problem.n)
            made[name] = matrix(sizes, (problem.m * problem.n, problem.n, 1))
        elif name == "bias":
            made[name] = torch.rand(problem.n, generator=generator).to(dtype)
    return made


def launching(rendered: Rendered, problem: gt.GemmProblem) -> Graph:
    """A wrapper around the one kernel, as Inductor writes them around several."""
    inputs = ", ".join(name for name in rendered.operands if name != "c")
    batch = [problem.batch] if problem.op in ("bmm", "baddbmm") else []
    return Graph(
        "import torch\n"
        "from torch._inductor.async_compile import AsyncCompile\n"
        f"kernel = AsyncCompile().triton('kernel', {rendered.text!r})\n"
        "def call(given):\n"
        f"    {inputs}, = given\n"
        f"    c = torch.empty({[*batch, problem.m, problem.n]}, dtype=torch.{problem.out_dtype})\n"
        f"    kernel.run({', '.join((*rendered.operands, *map(str, rendered.grid)))}, stream=0)\n"
        "    return [c]\n",
        is_backward=False,
    )
