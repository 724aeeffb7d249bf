"""The benchmarks of the op, rehearsed without a GPU: launches go to the stand-in libcuda, which runs nothing,
torch.cuda and compute-sanitizer are doubles too, and tensors are on the CPU."""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries only in part)
from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

import gemm_tuner as gt
from conftest import StandIn
from doubles.hot_op import hot_on_cpu
from doubles.torch_cuda import Stream, torch_cuda
from gemm_tuner import trials
from gpu import every_family, host_overhead, memcheck, model_products, op, test_op_gpu
from gpu.native import native_operator
from gpu.op_calls import operands, problem_of
from gpu.op_cases import CONFIGS, Case, Variety
from gpu.op_table import table
from gpu.partition import Partition, PartitionError

RUN = Path(memcheck.__file__).with_name("run.sh")


@pytest.fixture
def gpu(stand_in: StandIn, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """An RTX 3060, a double; the op takes CPU tensors for its own, and launches there."""
    monkeypatch.setenv("GEMM_TUNER_LIBNVML", str(stand_in.path))
    stand_in.tell("log=1")
    with torch_cuda(), hot_on_cpu() as hot:
        monkeypatch.setattr(test_op_gpu, "hot_path", lambda: hot)
        yield stand_in
    gc.collect()  # what is loaded belongs to a double that the next test tells something else


# The native operator and what calls cost


@pytest.mark.parametrize("family", ["tiled", "split_k"])
def test_the_native_operator_launches_what_was_compiled(family: str, gpu: StandIn) -> None:
    a, b, _ = operands(Case(family, "float16", "nt", Variety(64, 96, 128)), "cpu")
    with native_operator(problem_of(a, b), CONFIGS[family], a, b, spec=gt.device()) as native:
        c = native(a, b)
        assert native(a[1:], b) is None
    assert (c.shape, c.dtype) == ((64, 96), torch.float16)
    launched = gpu.launched()
    assert [each.entry for each in launched] == (["tiled"] if family == "tiled" else ["split_k", "add_parts"])
    assert launched[0].values[:2] == (a.data_ptr(), b.data_ptr())
    assert c.data_ptr() in launched[-1].values


def test_every_way_of_calling_is_timed_and_the_op_launches_its_record(gpu: StandIn) -> None:
    rows, otherwise = host_overhead.measure(gt.device(), device="cpu", rounds=2, calls=3, triton=False)
    assert otherwise == []
    by_name = {row.name: row for row in rows}
    assert {row.like for row in rows} <= {"", *by_name}
    assert all(row.call_us > 0 and row.calls_per_second > 0 for row in rows)
    entries = [each.entry for each in gpu.launched()]
    # by record with and without bias, as torch's operator, natively, from Python, by addresses
    assert entries.count("tiled") >= 6 * (3 + 2 * 3)
    assert f"| gt.matmul | {by_name['gt.matmul'].call_us:.2f} | " in host_overhead.table(rows)


def test_an_op_that_goes_another_way_is_told(gpu: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_overhead, "naming", lambda *_: [])
    _, otherwise = host_overhead.measure(gt.device(), device="cpu", rounds=1, calls=1, triton=False)
    assert [each.partition(": ")[2] for each in otherwise] == ["no record", "no record"]


def test_what_is_known_is_launched_without_python(gpu: StandIn) -> None:
    for variety in (Variety(64, 96, 128), Variety(64, 96, 128, has_bias=True, activation="gelu")):
        stage = test_op_gpu.Stage("cpu", gt.device(), gt.use_records)
        test_op_gpu.test_what_is_known_of_a_call_is_launched_without_python(variety, stage)
    assert [each.entry for each in gpu.launched()] == ["split_k", "add_parts"] * 4


# The products of models


def test_products_are_those_of_the_published_models() -> None:
    from transformers import BertConfig, ViTConfig

    def weights(of: tuple[model_products.Product, ...]) -> int:
        return sum(each.uses * each.n * each.k for each in of)

    def biases(of: tuple[model_products.Product, ...]) -> int:
        return sum(each.uses * each.n for each in of if each.has_bias)

    prefill, decode, vit, bert, qwen, _, unet = model_products.WORKLOADS
    norms = 2048 * (2 * 16 + 1)  # head and embedding share one weight
    assert weights(prefill) + norms == weights(decode) + norms == 1_235_814_400
    assert weights(qwen) + biases(qwen) + 896 * (2 * 24 + 1) == 494_032_768
    for of, config in ((vit, ViTConfig()), (bert, BertConfig())):
        hidden, between = config.hidden_size, config.intermediate_size
        assert weights(of) == config.num_hidden_layers * (4 * hidden**2 + 2 * hidden * between)
    image_size, patch_size = ViTConfig().image_size, ViTConfig().patch_size
    assert isinstance(image_size, int) and isinstance(patch_size, int)
    assert vit[0].m == (image_size // patch_size) ** 2 + 1
    assert sum(each.uses for each in unet if each.layer.startswith("in")) == 16
    problem = vit[1].problem
    assert (problem.op, problem.layout, problem.epilogue, problem.alignment) == ("addmm", "nt", "gelu", 16)


def test_the_order_of_importance_has_every_workload_first_and_every_product() -> None:
    ordered = model_products.by_importance()
    assert len(ordered) == 48
    first = ordered[: len(model_products.WORKLOADS)]
    assert [each.workload for each in first] == [each[0].workload for each in model_products.WORKLOADS]
    assert sorted(map(str, ordered)) == sorted(map(str, itertools.chain(*model_products.WORKLOADS)))
    of_unet = [each.work for each in ordered if each.workload.startswith("SD")]
    assert of_unet == sorted(of_unet, reverse=True)


SMALL = [
    model_products.Product("one", "in", 32, 48, 64, 3, "float16", has_bias=True, activation="gelu"),
    model_products.Product("other", "out", 16, 64, 32, 2),
]


@pytest.fixture
def bench(gpu: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> op.Bench:
    """Parts are doubles; what is not there is refused. torch.compile leaves functions as they are."""

    def part(sms: int | None) -> Partition:
        if sms == 999:
            raise PartitionError("no part of 999 SMs of 28")
        return Partition(sms or 28, Stream())  # type: ignore[arg-type]

    monkeypatch.setattr(op, "partition", part)
    monkeypatch.setattr(op, "WARM_UP_CALLS", 1)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(trials, "ATEN_WORK", "doubles.library:library_work")
    monkeypatch.setenv("FAKE_LIBCUDA", "")
    out = tmp_path / "out"
    out.mkdir()
    return op.Bench(gt.device(), SMALL, (999, 0), out, 200.0, predicted=True, device="cpu")


def test_every_way_is_timed_and_all_of_it_is_in_the_file(
    bench: op.Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    matmul = gt.matmul
    monkeypatch.setattr(op, "LARGEST_ERROR", float("inf"))  # the double computes nothing

    def fails_once(x: torch.Tensor, *more: Any) -> torch.Tensor:
        if x.shape[0] == 16:
            raise RuntimeError("out of\nresources")
        return matmul(x, *more).zero_()

    monkeypatch.setattr(gt, "matmul", fails_once)
    bench.run()
    found = json.loads((bench.out / "op.json").read_text())
    assert [(each["what"], each["sms"]) for each in found["failures"]] == [
        ("the whole part", 999),
        ("matmul of other: out, 16x64x32", 0),
    ]
    assert found["failures"][1]["why"] == "RuntimeError: out of resources"
    first, second = found["cells"]
    assert (first["uses"], first["problem"]) == (3, str(SMALL[0].problem))
    assert tuple(first["ways"]) == op.WAYS and set(second["ways"]) == set(op.WAYS) - {"matmul"}
    for cell in found["cells"]:
        for way in cell["ways"].values():
            assert len(way["gpu_us"]["samples"]) == op.ROUNDS * op.CALLS and way["launched_ahead"] == 1
            assert way["compile_s"] >= 0
    assert first["why"].startswith(("predicted record", "measured record", "a prediction"))
    assert len(found["gpu_state"]) == 2 and found["left_out"] == []
    assert (bench.out / op.RECORDS).read_text().count("winner") == 2
    printed = table(found)
    assert "| all | one | 1 | " in printed and "failed: the whole part on 999 SMs: PartitionError" in printed
    assert f"| all | one: in, 32x48x64 | {first['ways']['torch']['gpu_us']['median']:.1f} | " in printed
    assert "matmul of other: out, 16x64x32, all SMs: RuntimeError" in capsys.readouterr().err


def test_wrong_numbers_have_no_time(bench: op.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gt, "matmul", lambda x, weight, *_: torch.full((x.shape[0], weight.shape[1]), torch.nan))
    monkeypatch.setattr(op, "TUNING_SHARE", 0.0)
    bench.run()
    found = json.loads((bench.out / "op.json").read_text())
    assert [each["why"] for each in found["failures"][1:]] == [
        "ArithmeticError: its result differs from float32's by nan of the norm"
    ] * 2
    assert all("matmul" not in cell["ways"] for cell in found["cells"])


def test_what_the_time_does_not_suffice_for_is_left_out_and_said(bench: op.Bench) -> None:
    short = op.Bench(bench.here, bench.products, (0,), bench.out, 1.0, predicted=True, device="cpu")
    found = short.run()
    assert found.cells == [] and found.failures == []
    assert [each["product"] for each in found.left_out] == [str(each) for each in SMALL]
    assert json.loads((bench.out / "op.json").read_text())["left_out"] == found.left_out


def test_ratios_are_weighted_by_uses() -> None:
    def cell(uses: int, **us: float) -> dict[str, Any]:
        ways = {name.replace("_", ", "): {"gpu_us": {"median": each}} for name, each in us.items()}
        sizes = {"m": 1, "n": 1, "k": 1, "layer": "x", "workload": "w", "sms": 16, "config": None}
        return {**sizes, "uses": uses, "ways": ways}

    cells = [cell(3, torch=10, matmul=5, compile=8), cell(1, torch=10, matmul=20)]
    cells[0]["config"] = CONFIGS["split_k"].to_dict()
    found = {"device": "a double", "date": "2026-01-02", "basis": "measured", "versions": {}, "cells": cells}
    printed = table({**found, "failures": [], "left_out": []})
    assert "| 16 | w | 2 | 1 | 1.143 | 0.500 |  |  |" in printed
    assert "| 16 | w: x, 1x1x1 | 10.0 | 5.0 | 8.0 |  | split_k |" in printed


@pytest.mark.parametrize("script", ["op.py", "host_overhead.py", "every_family.py"])
def test_without_a_gpu_the_scripts_say_so(script: str, tmp_path: Path) -> None:
    out = [] if script == "every_family.py" else ["--out", str(tmp_path / "results")]
    environment = {**os.environ, "GEMM_TUNER_LIBCUDA": "/nowhere/libcuda.so.1"}
    command = [sys.executable, str(RUN.with_name(script)), *out]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"{script}: ") and "Traceback" not in done.stderr


# compute-sanitizer


STUB = """#!/bin/sh
# a double: as the tool says that it is told, of a program that it runs
tool=$2
shift 4
"$@" || exit $?
case "$tool $*" in *--planted) n=$PLANTED;; racecheck*) n=$RACES;; hangs*) sleep 60;; *) n=0;; esac
[ "$tool" = silent ] && exit 3
[ "$tool" = racecheck ] && echo "========= RACECHECK SUMMARY: $n hazards displayed ($n errors, 0 warnings)" && exit 0
echo "========= ERROR SUMMARY: $n errors"
"""


def checked(tmp_path: Path, tools: str, **said: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and the runs, on a double that says this."""
    stub = tmp_path / memcheck.NAME
    stub.write_text(STUB)
    stub.chmod(0o755)
    program = [sys.executable, "-c", "import os; assert os.environ['PYTORCH_NO_CUDA_MEMORY_CACHING'] == '1'"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        for name, value in {"PLANTED": "1", "RACES": "0", **said}.items():
            patch.setenv(name, value)
        code = memcheck.main(["--out", str(tmp_path / "out"), "--tools", tools, "--minutes", "0.1"], program=program)
    return code, json.loads((tmp_path / "out" / "memcheck.json").read_text())["runs"]


def test_what_the_tools_count_is_kept(tmp_path: Path) -> None:
    code, runs = checked(tmp_path, "memcheck,racecheck")
    assert code == 0
    assert [(each["tool"], each["planted"], each["errors"]) for each in runs] == [
        ("memcheck", True, 1), ("memcheck", False, 0), ("racecheck", False, 0),
    ]  # fmt: skip
    assert "ERROR SUMMARY: 1 errors" in (tmp_path / "out" / "memcheck_planted.log").read_text()


@pytest.mark.parametrize(
    ("tools", "said", "why"),
    [
        ("memcheck,racecheck", {"RACES": "2"}, ""),
        ("memcheck", {"PLANTED": "0"}, ""),
        ("memcheck,silent", {}, "it ended with status 3 and no summary"),
        ("memcheck,hangs", {}, "s did not suffice"),
    ],
)
def test_what_is_found_or_does_not_end_fails(
    tools: str, said: dict[str, str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, runs = checked(tmp_path, tools, **said)
    assert code == 1
    (bad,) = [each for each in runs if each["is_bad"]]
    assert why in bad["why"] and "<- not right" in capsys.readouterr().out


def test_a_program_that_fails_by_itself_is_not_checked(tmp_path: Path) -> None:
    (tmp_path / memcheck.NAME).write_text(STUB)
    (tmp_path / memcheck.NAME).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        code = memcheck.main(["--out", str(tmp_path)], program=[sys.executable, "-c", "raise SystemExit('no GPU')"])
    assert code == 2
    assert "by itself: status 1, no GPU" in json.loads((tmp_path / "memcheck.json").read_text())["why"]


def test_without_compute_sanitizer_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memcheck.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "memcheck.json").read_text())
    assert found["runs"] == [] and found["why"].startswith("there is no compute-sanitizer")
    assert "nothing was checked" in capsys.readouterr().out


def test_it_is_found_beside_nvcc_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "bin" / "nvcc", tmp_path / memcheck.NAME / memcheck.NAME):
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert memcheck.sanitizer() == str(tmp_path / memcheck.NAME / memcheck.NAME)


def test_the_planted_fault_is_an_address_of_nobody(gpu: StandIn) -> None:
    every_family.plant(gt.device(), "cpu")
    (launched,) = gpu.launched()
    assert launched.entry == "tiled" and launched.values[0] == every_family.NOBODYS


# The script of all parts


def test_the_script_runs_the_parts_of_the_op(tmp_path: Path) -> None:
    stub, calls = tmp_path / "python", tmp_path / "calls"
    stub.write_text(f'#!/bin/sh\necho "$*" >> {calls}\ncase "$*" in *memcheck*) exit 1;; esac\n')
    stub.chmod(0o755)
    asked = {"PYTHON": str(stub), "OUT": str(tmp_path / "out"), "TESTS": "tests/gpu/test_op_gpu.py"}
    none = dict.fromkeys(("CALIBRATION_S", "OVERHEAD_S", "BLOCK_S"), "0")
    parts = {"HOST_S": "40", "MEMCHECK_S": "120", "OP_S": "320"}
    done = subprocess.run([RUN], env={**os.environ, **asked, **none, **parts}, text=True, check=False)
    assert done.returncode == 2
    called = calls.read_text().splitlines()
    scripts = ["environment", "-m pip", "-m pytest", "host_overhead", "memcheck", "gpu/op.py"]
    assert len(called) == len(scripts) and all(word in line for word, line in zip(scripts, called, strict=True))
    assert called[2].endswith("-m gpu tests/gpu/test_op_gpu.py")
    assert called[4].endswith("--minutes 1.66667") and called[5].endswith("--minutes 5")


def test_what_needs_a_context_is_given_back(gpu: StandIn) -> None:
    a, b, _ = operands(Case("tiled", "float16", "nt", Variety(64, 96, 128)), "cpu")
    for _ in range(10):  # more than may be there at a time
        with ExitStack() as stack:
            stack.enter_context(native_operator(problem_of(a, b), CONFIGS["tiled"], a, b, spec=gt.device()))
