"""The command line: one sentence on stderr for bad input, one JSON document on stdout, exit codes as documented."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compile_double import CompileDouble
from gemm_tuner import CountedProblem, GemmProblem, tuning, write_problems
from gemm_tuner.cli import main
from gemm_tuner.records import read


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    def is_refusal(self) -> bool:
        """Exit code 2, nothing on stdout, one line on stderr, no traceback."""
        return self.code == 2 and self.out == "" and self.err.count("\n") == 1 and "Traceback" not in self.err


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuning, "compile_problems", CompileDouble())

    def run(*arguments: object) -> Said:
        code = main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMM_TUNER_LIBCUDA", "/nowhere/libcuda.so.1")


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    write_problems(
        path,
        [
            CountedProblem(GemmProblem(m=512, n=2048, k=2048, layout="nt", dtype="bfloat16"), 16),
            CountedProblem(GemmProblem(m=16, n=2048, k=8192, layout="nt", dtype="bfloat16"), 2),
        ],
    )
    return path


@pytest.mark.parametrize("command", [[], ["devices"], ["doctor"], ["capture"], ["tune"], ["explain"], ["records"]])
def test_help_has_examples(run: Run, command: list[str]) -> None:
    said = run(*command, "--help")
    assert said.code == 0
    assert "gemm-tuner " in said.out.partition("Options:")[0].partition("\n")[2]


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from gemm_tuner.cli import main; main(['--help']);"
        "print([name for name in ('torch', 'triton', 'rich', 'numpy') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_it_runs_as_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "gemm_tuner", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and "0.1.0" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["explain", "0", "2", "3", "--device", "rtx-3060"], "m must be between 1"),
        (["explain", "1", "-2", "3", "--device", "rtx-3060"], "n must be between 1"),
        (["explain", "1", "2", "9999999999", "--device", "rtx-3060"], "k must be between 1"),
        (["explain", "1", "2", str(10**30), "--device", "rtx-3060"], "k is out of range"),
        (["explain", "1", "2.5", "3", "--device", "rtx-3060"], "2.5"),
        (["explain", "1", "many", "3", "--device", "rtx-3060"], "many"),
        (["explain", "1", "2", "3", "--batch", "0", "--device", "rtx-3060"], "batch"),
        (["explain", "1", "2", "3", "--dtype", "float17", "--device", "rtx-3060"], "float17"),
        (["explain", "1", "2", "3", "--layout", "xy", "--device", "rtx-3060"], "'xy'"),
        (["explain", "1", "2", "3", "--tf32", "--device", "rtx-3060"], "tf32"),
        (["explain", "1", "2", "3", "--device", "rtx-9999"], "rtx-9999"),
        (["explain", "1", "2", "3", "--device", ""], "device"),
        (["explain", "1", "2", "3", "--device", "rtx-3060", "--sm-budget", "0"], "--sm-budget"),
        (["explain", "1", "2"], "Missing argument 'K'"),
        (["tune"], "PROBLEMS"),
        (["tune", "none.jsonl", "--device", "rtx-3060"], "none.jsonl"),
        (["tune", ".", "--device", "rtx-3060"], "."),
        (["tune", "problems.jsonl", "--device", "rtx-9999"], "near"),
        (["tune", "problems.jsonl", "--device", "rtx-3060", "--top-k", "0"], "--top-k"),
        (["tune", "problems.jsonl", "--device", "rtx-3060", "--budget", "-1"], "seconds"),
        (["tune", "problems.jsonl", "--device", "rtx-3060", "--budget", "nan"], "seconds"),
        (["tune", "problems.jsonl", "--device", "rtx-3060", "-o", "none/r.jsonl"], "none"),
        (["tune", "problems.jsonl", "--device", "rtx-3060", "-o", "."], "regular file"),
        (["tune", "problems.jsonl", "--device", "rtx-3060", "-o", "problems.jsonl"], "not a records file"),
        (["capture", "-o", "p.jsonl"], "--model"),
        (["capture", "-o", "none/p.jsonl", "--model", "a:b"], "none"),
        (["capture", "--model", "a:b"], "--output"),
        (["capture", "-o", "p.jsonl", "--backward", "--", "python", "x.py"], "--backward"),
        (["capture", "-o", "p.jsonl", "--inductor", "--", "python", "x.py"], "--inductor"),
        (["capture", "-o", "p.jsonl", "--model", "a:b", "--device", "rtx-3060"], "--device is for --inductor"),
        (["capture", "-o", "p.jsonl", "--model", "a:b", "--inductor", "--device", "rtx-9999"], "near"),
        (["records", "show", "none.jsonl"], "none.jsonl"),
        (["records", "show", "problems.jsonl"], "not a records file"),
        (["records", "merge", "none.jsonl", "-o", "all.jsonl"], "none.jsonl"),
        (["records", "compact", "none.jsonl"], "none.jsonl"),
        (["records", "verify", "none.jsonl"], "none.jsonl"),
        (["records", "export", "none.jsonl", "--to", "serving", "-o", "out"], "none.jsonl"),
        (["records", "export", "none.jsonl", "--to", "yaml", "-o", "out"], "yaml"),
        (["records", "erase"], "erase"),
        (["benchmark"], "benchmark"),
        (["--loud"], "--loud"),
    ],
)
def test_bad_input_is_one_sentence(run: Run, problems: Path, arguments: list[str], says: str) -> None:
    before = problems.read_bytes()
    said = run(*arguments)
    assert said.is_refusal(), said
    assert says in said.err
    assert problems.read_bytes() == before
    left = {path.name for path in problems.parent.iterdir()} - {"problems.jsonl"}
    assert all(name.endswith(".lock") for name in left), left


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x00\x01\x02\xff", b"hello\n", b'{"schema": "gemm_tuner.pro'])
@pytest.mark.parametrize("command", [["tune", "bad", "--device", "rtx-3060"], ["records", "show", "bad"]])
def test_bad_files_are_one_sentence(run: Run, tmp_path: Path, content: bytes, command: list[str]) -> None:
    (tmp_path / "bad").write_bytes(content)
    said = run(*command)
    assert said.is_refusal(), said
    assert "bad" in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"bad"}


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("command", [["tune", "problems.jsonl"], ["explain", "1", "2", "3"]])
def test_without_a_gpu_and_a_name_the_flag_is_named(run: Run, problems: Path, command: list[str]) -> None:
    for arguments in (command, [*command, "--device", "current"]):
        said = run(*arguments)
        assert said.is_refusal()
        assert "driver" in said.err and "--device" in said.err


def test_tune_prints_one_document_or_one_table(run: Run, problems: Path, tmp_path: Path) -> None:
    said = run("tune", problems, "--device", "rtx-3060", "-o", "r.jsonl", "--json")
    assert said.code == 0
    document = said.document
    assert document["basis"] == "predicted" and document["device"]["sm_count"] == 28
    assert [each["count"] for each in document["problems"]] == [16, 2]
    assert document["totals"]["runs"] == 18 and document["unfinished"] == []
    assert [each["resumed"] for each in document["problems"]] == [False, False]
    assert "2 of 2" in said.err
    assert len(read(tmp_path / "r.jsonl").records) == 2 * 10

    said = run("tune", problems, "--device", "rtx-3060", "-o", "r.jsonl")
    assert said.code == 0
    assert "predicted, not measured" in said.out and "NVIDIA GeForce RTX 3060" in said.out
    for words in ("mm 512x2048x2048", "mm 16x2048x8192", "bfloat16", "ATen_us", "waves", "18", "gemm_tuner 0.1.0"):
        assert words in said.out
    assert "…" not in said.out
    assert all(
        each["resumed"]
        for each in run("tune", problems, "--device", "rtx-3060", "-o", "r.jsonl", "--json").document["problems"]
    )


def test_a_spent_budget_is_exit_code_1(run: Run, problems: Path) -> None:
    said = run("tune", problems, "--device", "rtx-3060", "-o", "r.jsonl", "--budget", "0", "--json")
    assert said.code == 1
    assert "2 of 2 problems are left" in said.err
    assert len(said.document["unfinished"]) == 2


def test_the_sm_budget_makes_another_device(run: Run, problems: Path) -> None:
    run("tune", problems, "--device", "rtx-3060", "-o", "r.jsonl")
    said = run("tune", problems, "--device", "rtx-3060", "--sm-budget", 14, "-o", "r.jsonl", "--json")
    assert {each["device"]["available_sms"] for each in said.document["problems"]} == {14}


def test_explain_shows_every_term(run: Run) -> None:
    said = run("explain", 512, 4096, 1024, "--device", "rtx-3060", "--json")
    assert said.code == 0
    document = said.document
    latencies = [each["latency_us"] for each in document["predictions"]]
    assert len(latencies) == 8 and latencies == sorted(latencies)
    table = run("explain", 512, 4096, 1024, "--device", "rtx-3060", "--top-k", 3).out
    for latency_us in latencies[:3]:
        assert f"{latency_us:.2f}" in table
    for term in ("waves", "dram", "prologue", "utilization", "registers"):
        assert term in table


@pytest.mark.usefixtures("no_gpu")
def test_devices_without_a_gpu_still_lists_the_catalogue(run: Run) -> None:
    said = run("devices")
    assert said.code == 0
    assert "rtx-3060" in said.out and "driver" in said.err
    document = run("devices", "--json").document
    assert document["here"] == [] and document["catalogue"]["l4"]["sm_count"] == 58


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # torch's advice, once a process
def test_capture_from_a_factory_and_from_a_script(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "little.py").write_text(
        "import torch\n"
        "def made():\n"
        "    return torch.nn.Linear(64, 32, device='meta'), (torch.empty(8, 64, device='meta'),)\n"
        "if __name__ == '__main__':\n"
        "    torch.empty(4, 8, device='meta') @ torch.empty(8, 16, device='meta')\n"
    )
    said = run("capture", "-o", "p.jsonl", "--model", "little.py:made")
    assert said.code == 0 and "1 problems, 1 runs" in said.err and said.out == ""
    said = run("capture", "-o", "p2.jsonl", "--model", "little.py:made", "--backward")
    assert said.code == 0 and len((tmp_path / "p2.jsonl").read_text().splitlines()) == 2
    said = run("capture", "-o", "p4.jsonl", "--model", "little.py:made", "--inductor", "--device", "rtx-3060")
    assert said.code == 0 and "1 problems, 1 runs" in said.err
    assert (tmp_path / "p4.jsonl").read_text() == (tmp_path / "p.jsonl").read_text()
    said = run("capture", "-o", "p3.jsonl", "--", sys.executable, "little.py")
    assert said.code == 0 and '"m": 4, "n": 16, "k": 8' in (tmp_path / "p3.jsonl").read_text()


def test_capture_that_sees_nothing_writes_nothing(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "idle.py").write_text("print('nothing', file=__import__('sys').stderr)\n")
    said = run("capture", "-o", "p.jsonl", "--", "python", "idle.py")
    assert said.code == 2 and "no matrix product ran" in said.err
    assert not (tmp_path / "p.jsonl").exists()


def test_a_script_that_fails_is_exit_code_1_and_keeps_what_ran(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "half.py").write_text(
        "import torch\ntorch.empty(4, 8, device='meta') @ torch.empty(8, 16, device='meta')\nraise SystemExit(3)\n"
    )
    said = run("capture", "-o", "p.jsonl", "--", "python", "half.py")
    assert said.code == 1 and "exited with 3" in said.err
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 1


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = [sys.executable, "-m", "gemm_tuner", "devices", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert "Traceback" not in err and "BrokenPipe" not in err
    assert process.returncode == 0
