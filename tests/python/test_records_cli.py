"""`gemm-tuner records`: show, merge, verify, export, compact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gemm_tuner.cli import main
from gemm_tuner.records import Record, append, read
from gemm_tuner.tuning import current_kernels
from records_samples import PROBLEM, TOO_BIG, aten, record

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["records", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def current(**changes: object) -> Record:
    """A record of the kernel that is installed."""
    (kernel,) = (each for each in current_kernels() if "::tiled@" in each)
    return record(kernel=kernel, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "r.jsonl"
    append(path, [current(kind="trial"), current(), aten(problem=PROBLEM.replace(m=1))])
    return path


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'{"schema": "gemm_tu')


def test_show(run: Run, path: Path) -> None:
    code, out, err = run("show", "r.jsonl")
    assert code == 0 and err == ""
    assert "128x64x32 w4 s3 g8" in out and "ATen" in out and out.count("predicted") >= 2 and "trial" not in out
    assert "trial" in run("show", "r.jsonl", "--trials")[1]
    assert [Record.from_dict(each) for each in json.loads(run("show", "r.jsonl", "--json", "--trials")[1])] == list(
        read(path).records
    )


def test_show_says_what_it_skipped(run: Run, path: Path) -> None:
    tear(path)
    code, out, err = run("show", "r.jsonl", "--json")
    assert code == 1 and "line 4" in err and "1 lines were skipped" in err
    assert len(json.loads(out)) == 2


def test_merge(run: Run, path: Path, tmp_path: Path) -> None:
    append(tmp_path / "b.jsonl", [current(), current(count=7)])
    code, out, err = run("merge", "r.jsonl", "b.jsonl", "-o", "all.jsonl")
    assert (code, out) == (0, "") and "4 lines" in err
    assert len(read(tmp_path / "all.jsonl").records) == 4
    tear(path)
    assert run("merge", "r.jsonl", "b.jsonl", "-o", "all.jsonl")[0] == 1


def test_compact(run: Run, path: Path) -> None:
    append(path, [current(latency_us=1.0, time="2026-02-02T00:00:00+00:00")])
    code, _, err = run("compact", "r.jsonl")
    assert code == 0 and "3 lines" in err and "1 superseded" in err
    assert [r.latency_us for r in read(path).records] == [93.5, 93.5, 1.0]


def test_verify(run: Run, path: Path) -> None:
    code, out, err = run("verify", "r.jsonl")
    assert (code, err) == (0, "") and "3 of 3 lines are good" in out
    append(path, [record(), current(choice=TOO_BIG)])
    tear(path)
    code, out, err = run("verify", "r.jsonl")
    assert code == 1 and "3 of 6 lines of r.jsonl fell short" in err
    for words in ("line 4: gemm_tuner::tiled@", "line 5: not legal", "line 6:"):
        assert words in out
    code, out, _ = run("verify", "r.jsonl", "--json")
    assert code == 1 and json.loads(out)["faulty"] == 3


def test_export_to_serving(run: Run, path: Path, tmp_path: Path) -> None:
    code, out, err = run("export", "r.jsonl", "--to", "serving", "-o", "configs")
    assert (code, out) == (1, "") and "left out 1: the library kernel won" in err
    (file,) = (tmp_path / "configs").iterdir()
    assert json.loads(file.read_text())["512"]["BLOCK_SIZE_M"] == 128


def test_export_to_inductor(run: Run, path: Path, tmp_path: Path) -> None:
    code, out, err = run("export", "r.jsonl", "--to", "inductor", "-o", "table.json")
    assert (code, out) == (0, "") and "2 entries" in err
    table = json.loads((tmp_path / "table.json").read_text())
    assert all(key.startswith("NVIDIA GeForce RTX 3060+((torch.float16, ") for key in table)


def test_an_export_that_cannot_be_written_leaves_nothing(run: Run, path: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    code, _, err = run("export", "r.jsonl", "--to", "serving", "-o", "taken")
    assert code == 2 and "taken" in err and (tmp_path / "taken").read_text() == "mine"
    code, _, err = run("export", "r.jsonl", "--to", "inductor", "-o", "none/table.json")
    assert code == 2 and "none" in err
