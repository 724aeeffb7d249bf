"""The block's benchmark without a GPU: its processes with doubles in them, its block on the CPU, its ways to compile
on a virtual GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from torch._inductor import utils as inductor_utils
from torch._subclasses import FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import block_latency
from doubles.contestants import GPU_US, OneFails, OneHangs, Pretender
from doubles.virtual_gpu import virtual_gpu
from gpu import measuring
from gpu.contest import VARIANTS, summary
from gpu.contestant import TOP_K, compiling_as, gemms
from gpu.llama_block import WORKLOADS, Sizes, Workload, block, inputs
from gpu.partition import mark_sm
from inductor_samples import MLP, mlp

SCRIPT = Path(block_latency.__file__)
SMALL = Sizes(width=64, heads=4, kv_heads=2, hidden=96)


def by_variant(cells: list[dict[str, Any]], **where: Any) -> dict[str, dict[str, Any]]:
    return {cell["variant"]: cell for cell in cells if all(cell[name] == value for name, value in where.items())}


# The processes


def test_every_variant_is_measured_in_every_cell_and_all_of_it_is_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measuring.measure(measuring.Plan(Pretender, tmp_path, sms=(0, 33), workloads=("prefill_512", "decode_1")))
    kept = json.loads((tmp_path / "block_latency.json").read_text())
    assert (kept["failures"], kept["not_measured"]) == ([], [])
    assert kept["device"]["name"] == "a double, no GPU" and kept["basis"] == "measured"
    assert len(kept["gpu_state"]) == 2 * 4
    for sms, workload in ((0, "prefill_512"), (0, "decode_1"), (33, "prefill_512"), (33, "decode_1")):
        cells = by_variant(kept["cells"], sms=sms, workload=workload)
        assert tuple(cells) == VARIANTS
        for variant, cell in cells.items():
            assert cell["gpu_us"]["median"] == GPU_US[variant] * (4 if sms else 1) + 2
            assert len(cell["gpu_us"]["samples"]) == measuring.ROUNDS * measuring.CALLS
            assert cell["wall_us"]["spread"] == 0 and cell["gpu_us"]["spread"] > 0
            assert cell["launched_ahead"] == 1
    # our two share what was learned, one workload's more each time; stock caches are each one's own
    second = by_variant(kept["cells"], sms=33, workload="decode_1")
    assert [second[name]["compile"]["report"] for name in ("ours_cold", "ours_warm")] == ["2 records"] * 2
    assert second["stock_gated"]["compile"]["report"] != second["stock_forced"]["compile"]["report"]
    assert (tmp_path / "block_records.jsonl").read_text().count("pretended") == 4
    printed = block_latency.table(found)
    assert "   33 decode_1     ours_warm          0.5     642.0" in printed
    assert printed.count("stock_forced") == 4 and "1.249" in printed
    assert capsys.readouterr().err == ""


def test_who_fails_is_left_out_and_said_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measuring.measure(measuring.Plan(OneFails, tmp_path, sms=(0,), workloads=("decode_1", "decode_16")))
    assert {name: each["why"] for name, each in by_variant(found.failures).items()} == {
        "stock_forced": "compile: RuntimeError: out of resources",
        "eager": "compile: it ended with exit code 7; its last words: eager was here",
    }
    assert len(found.cells) == 2 * 3 and {"stock_forced", "eager"}.isdisjoint(by_variant(found.cells))
    assert "failed: eager on all SMs: compile: it ended" in block_latency.table(found)
    assert "stock_forced on 0 SMs, decode_1: compile: RuntimeError" in capsys.readouterr().err


def test_one_that_hangs_costs_its_own_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measuring.LIMITS_S, "compile", 2.0)
    found = measuring.measure(measuring.Plan(OneHangs, tmp_path, sms=(0,), workloads=("decode_1",)))
    (failure,) = found.failures
    assert (failure["variant"], failure["why"]) == ("ours_cold", "compile: no answer to compile within 2 s")
    assert len(found.cells) == len(VARIANTS) - 1


def test_what_the_minutes_do_not_suffice_for_is_said(tmp_path: Path) -> None:
    found = measuring.measure(measuring.Plan(Pretender, tmp_path, sms=(16,), workloads=("decode_1",), minutes=0.5))
    assert found.not_measured == [{"sms": 16, "workload": "decode_1", "why": "0.5 minutes did not suffice"}]
    assert json.loads((tmp_path / "block_latency.json").read_text())["not_measured"] == found.not_measured
    assert block_latency.table(found).endswith("not measured: decode_1 on 16 SMs: 0.5 minutes did not suffice")


def test_a_spread_is_the_quartiles_distance() -> None:
    assert summary([10.0, 20.0, 30.0, 40.0, 50.0])["spread"] == pytest.approx(20 / 30)
    assert summary([4.0]) == {"median": 4.0, "spread": 0.0, "samples": [4.0]}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--sms", "16,many"], "--sms: whole numbers with commas between them, got '16,many'"),
        (["--workloads", "train"], "--workloads: train is none of prefill_512, decode_16, decode_1"),
        (["--minutes", "0"], "--minutes: more than 0, got 0.0"),
    ],
)
def test_arguments_that_make_no_sense(given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        block_latency.arguments(["--out", "x", *given])
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GEMM_TUNER_LIBCUDA", "/nowhere/libcuda.so.1")
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == "A block's latency can only be measured on a GPU: the driver shows none here."
    assert not (tmp_path / "out").exists()


# The block


def test_decoding_continues_what_prefilling_began() -> None:
    model = block(SMALL, "cpu", torch.float32)
    x, _ = inputs(Workload(batch=2, tokens=9, past=0), SMALL, "cpu", torch.float32)
    before = model.before_attention(x[:, :8])
    keys = model._rotated(model._split(model.k(before), SMALL.kv_heads), 0)
    values = model._split(model.v(before), SMALL.kv_heads)
    torch.testing.assert_close(model(x[:, 8:], (keys, values)), model(x)[:, 8:])


def test_every_process_gets_the_same_block_and_inputs() -> None:
    one, other = (block(SMALL, "cpu", torch.bfloat16) for _ in range(2))
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name
    for work in WORKLOADS.values():
        (x, past), (y, more) = (inputs(work, SMALL, "cpu", torch.bfloat16) for _ in range(2))
        assert torch.equal(x, y) and x.shape == (work.batch, work.tokens, SMALL.width)
        assert (past is None) == (work.past == 0) == (more is None)


# The ways to compile


def compiled_as(variant: str) -> tuple[int, str]:
    """How many Triton candidates Inductor compiled, and the code that it wrote, on an RTX 3060 (a double) on which
    Triton always wins."""
    with (
        virtual_gpu("rtx-3060", timings=lambda choice: 1.0 if choice.name.startswith("triton") else 2.0) as gpu,
        FakeTensorMode(),
        compiling_as(variant, gpu.spec.sm_count) as (compiler, report),
    ):
        torch._dynamo.reset()
        compiler(mlp)(*(torch.empty(shape, dtype=torch.float16, device="cuda:0") for shape in MLP))
    (graph,) = gpu.graphs
    assert (report is None) == variant.startswith("stock")
    return len(gpu.clock.gemms) and len(gpu.clock.compiled), graph.source


def test_a_variant_compiles_as_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path))
    raced, code = compiled_as("stock_gated")
    assert (raced, gemms(code)) == (0, (0, 1))
    for variant, is_open in (("stock_gated", False), ("stock_forced", True)):
        with compiling_as(variant, 28):
            assert inductor_utils.is_big_gpu(torch.device("cuda", 0)) is is_open
    raced, code = compiled_as("ours_cold")
    assert 0 < raced <= TOP_K and gemms(code) == (1, 0)
    raced, code = compiled_as("ours_warm")
    assert (raced, gemms(code)) == (0, (1, 0))
    with compiling_as("eager", 28) as (compiler, report):
        assert compiler(mlp) is mlp and report is None
    with pytest.raises(ValueError, match="no variant 'fast'"), compiling_as("fast", 28):
        pass


# The proof of a partition


def test_the_kernel_that_counts_sms_reads_their_numbers_and_waits() -> None:
    source = ASTSource(mark_sm, {"marks": "*i32", "hold_ns": "i32"})
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1}).asm["ptx"]
    assert "%smid" in ptx
    start, loop = (line for line in ptx.splitlines() if "%globaltimer" in line)
    assert start != loop
    assert "atom.global" in ptx or "red.global" in ptx
