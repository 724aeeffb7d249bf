"""The benchmark of measured tuning, rehearsed without a GPU: ours on the stand-in libcuda, which plays the times that
it is told, stock's on a virtual GPU. Both are doubles, and run nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

import gemm_tuner as gt
import sweep_space
from conftest import StandIn
from doubles.library import LIBRARY
from doubles.stand_in import KernelTime, write_times
from doubles.virtual_gpu import virtual_gpu
from gemm_tuner import trials
from gemm_tuner.compile import Compiled, compile_candidates
from gpu import stock, tuning
from gpu.tuning_figures import summary
from sweep_file import read_recording

BENCHMARKS = Path(sweep_space.__file__).parent
TOP_K, SWEPT = 3, 8
TRIED_US, MISSED_US, LIBRARY_US = 12.0, 10.0, 30.0


@pytest.fixture
def tried_and_missed(
    stand_in: StandIn, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[gt.GemmConfig, gt.GemmConfig]:
    """A machine on which the best that is tried is not the best that there is."""
    monkeypatch.setattr(trials, "ATEN_WORK", "doubles.library:library_work")
    monkeypatch.setenv("GEMM_TUNER_LIBNVML", str(stand_in.path))
    stand_in.tell("")
    problem, device = tuning.PROBLEMS[0], gt.device()
    ranked = [each.config for each in gt.rank(problem, device, top_k=TOP_K)]
    parts = [device, device.with_available_sms(16)]
    wide = sweep_space.candidates(problem, parts, SWEPT, kernel="gemm_tuner")
    both = {each.config for part in parts for each in gt.rank(problem, part, top_k=TOP_K)}
    tiles = {(each.block_m, each.block_n, each.block_k) for each in both}
    others = (each for each in wide if (each.block_m, each.block_n, each.block_k) not in tiles)
    missed = next(each for each in others if each.family == "tiled")  # of one kernel, whose time is told
    compiled = compile_candidates(problem, [ranked[0], missed], device)
    table = [KernelTime(LIBRARY, LIBRARY_US)]
    for config, latency_us in ((ranked[0], TRIED_US), (missed, MISSED_US)):
        result = compiled[config]
        assert isinstance(result, Compiled)
        table.append(KernelTime(result.binaries[0].cubin, latency_us))
    told = f"{write_times(tmp_path / 'times.tsv', table)};default_us=20;noise=0.002;seed=3"
    monkeypatch.setenv("FAKE_LIBCUDA", told)
    stand_in.tell(told)
    return ranked[0], missed


def test_what_is_found_is_judged_by_a_sweep_and_all_of_it_is_in_the_file(
    tried_and_missed: tuple[gt.GemmConfig, gt.GemmConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried, missed = tried_and_missed
    given = ["--problems", "1", "--top-k", str(TOP_K), "--swept", str(SWEPT), "--kernel", "gemm_tuner"]
    code = tuning.main(["--out", str(tmp_path), "--sms", "16,64,0", "--stock-sms", "", *given, "--minutes", "4"])
    assert code == 1  # there are no 64 SMs
    found = json.loads((tmp_path / "tuning.json").read_text())
    assert [(each["what"], each["sms"]) for each in found["missing"]] == [("tuning", 64)]
    assert found["basis"] == "measured" and found["kernel"] == "gemm_tuner" and found["versions"]["torch"]
    assert [part["sms"] for part in found["parts"]] == [16, 28]
    whole = found["parts"][1]
    (line,) = whole["tuned"]
    assert gt.GemmConfig.from_dict(line["winner"]) == tried
    assert line["regret"] == pytest.approx(TRIED_US / MISSED_US, rel=0.01)
    assert line["over_library"] == pytest.approx(TRIED_US / LIBRARY_US, rel=0.01)
    assert TOP_K <= line["tried"] <= 14 and line["swept"] >= SWEPT
    assert line["repeats"] < line["launches"] < 30 * line["repeats"]
    assert whole["seconds"] > 0 and whole["summary"]["regret %"] == pytest.approx(20, abs=1)
    row = read_recording(tmp_path / tuning.SWEEP_FILE).rows[-1]
    assert row.sms == 28 and {None, tried, missed} <= set(row.latency_us)
    assert len(row.repeats_us[tried]) == tuning.SWEEP_ROUNDS
    printed = capsys.readouterr()
    assert "28 SMs: problems 1, regret % 2" in printed.out
    assert "tuning, 64 SMs: NVIDIA GeForce RTX 3060" in printed.err and "has fewer" in printed.err


def test_stock_is_counted() -> None:
    with virtual_gpu("h100-sxm", timings=lambda _: 1.0) as gpu, FakeTensorMode():
        a, b = torch.empty(16, 32, device="cuda:0"), torch.empty(16, 32, device="cuda:0").t()
        spent = stock.tuned(a.bfloat16(), b.bfloat16())
    assert spent.candidates == len(gpu.clock.gemms) > 2
    assert spent.chose in ("triton", "library") and spent.seconds > 0


def test_launches_are_counted_as_inductor_makes_them() -> None:
    from torch._inductor.runtime.benchmarking import benchmarker

    spent = stock.Spent()
    launched: list[object] = []

    def benchmark_gpu(self: object, function: object, **_: object) -> float:
        assert callable(function)
        launched.extend(function() for _ in range(7))
        return 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(benchmarker), "benchmark_gpu", benchmark_gpu)
        with stock.counted(spent):
            benchmarker.benchmark(lambda: 5, device="cuda")
        benchmarker.benchmark(lambda: 5, device="cuda")
    assert (spent.benchmark_calls, spent.launches, launched) == (1, 7, [5] * 14)


def test_stock_without_a_gpu_is_missing_and_says_why() -> None:
    lines, why = tuning.stock_tuned(tuning.PROBLEMS[:2], 0, 120)
    assert not lines
    assert why.startswith("0 of 2 products: it ended with status 1: ")
    assert "CUDA" in why or "NVIDIA" in why
    lines, why = tuning.stock_tuned(tuning.PROBLEMS[:2], 0, 0.2)
    assert (lines, why) == ([], "0 of 2 products: 0.2 s did not suffice")


@pytest.mark.parametrize(("script", "out"), [("gpu/tuning.py", "results"), ("sweep.py", "sweep.jsonl.gz")])
def test_without_a_gpu_the_scripts_say_so(script: str, out: str, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / script), "--out", str(tmp_path / out)]
    environment = {**os.environ, "GEMM_TUNER_LIBCUDA": "/nowhere/libcuda.so.1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{Path(script).name}: ") and "Traceback" not in done.stderr


def test_the_script_of_all_parts_goes_on_where_one_fails(tmp_path: Path) -> None:
    stub, calls = tmp_path / "python", tmp_path / "calls"
    stub.write_text(f'#!/bin/sh\necho "$*" >> {calls}\ncase "$*" in *timer_overhead*|*sweep.py*) exit 1;; esac\n')
    stub.chmod(0o755)
    asked = {"PYTHON": str(stub), "OUT": str(tmp_path / "out"), "BLOCK_S": "0", "TUNING_S": "460", "SWEEP_S": "230"}
    done = subprocess.run([BENCHMARKS / "gpu" / "run.sh"], env={**os.environ, **asked}, text=True, check=False)
    assert done.returncode == 16 | 128
    called = calls.read_text().splitlines()
    scripts = ["environment", "-m pip", "-m pytest", "calibration", "timer_overhead", "tuning", "sweep", "sweep"]
    assert len(called) == len(scripts) and all(word in line for word, line in zip(scripts, called, strict=True))
    assert called[5].endswith("--minutes 7.33333") and called[7].endswith("sweep_native.jsonl.gz --minutes 3.5")
    assert "--code-device rtx-3060" in called[6]


def test_ours_stands_beside_stocks() -> None:
    line = {"m": 1, "n": 1, "k": 1, "tried": 8, "repeats": 60, "launches": 100, "regret": 1.01, "over_library": 0.9}
    stocks = [{"candidates": 20, "launches": 4000, "seconds": 10.0}]
    found = summary({"seconds": 2.0, "tuned": [line, {**line, "tried": 12, "regret": 1.03}], "stock": stocks})
    assert (found["regret %"], found["worst over library %"], found["most tried"]) == (2.0, -10.0, 12)
    assert (found["launches / stock's"], found["seconds / stock's"]) == (0.025, 0.1)
    assert (found["tried"], found["stock candidates"]) == (10, 20)
    alone = summary({"seconds": 2.0, "tuned": [{"m": 1, "n": 1, "k": 1, "given_up": "it faults", "failed": 2}]})
    assert alone["regret %"] is None and alone["problems"] == 1
