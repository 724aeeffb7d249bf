"""Records files: one self-contained line each, appended whole, read whatever happened to the file."""

from __future__ import annotations

import itertools
import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemm_tuner import GemmConfig, GemmProblem
from gemm_tuner._core import KernelResources
from gemm_tuner.errors import RecordsError
from gemm_tuner.records import (
    SCHEMA,
    Fingerprint,
    Record,
    Versions,
    append,
    merge,
    open_for_append,
    read,
)
from records_samples import aten, record

sizes = st.integers(1, 2**31 - 1)
problems = st.builds(
    GemmProblem,
    m=sizes,
    n=sizes,
    k=sizes,
    dtype=st.sampled_from(["float16", "bfloat16", "float32", "int8", "float8_e4m3fn"]),
    layout=st.sampled_from(["nn", "nt", "tn", "tt"]),
    op=st.sampled_from(["mm", "addmm", "bmm"]),
)
powers = st.sampled_from([16, 32, 64, 128, 256])
configs = st.builds(
    GemmConfig,
    block_m=powers,
    block_n=powers,
    block_k=powers,
    num_warps=st.sampled_from([1, 2, 4, 8]),
    num_stages=st.integers(1, 6),
)
times_us = st.floats(min_value=1e-3, max_value=1e12)
text = st.text(max_size=40)


@st.composite
def any_record(draw: st.DrawFn) -> Record:
    basis = draw(st.sampled_from(["measured", "predicted"]))
    problem = draw(problems)
    padding = None if problem.k == 1 else draw(st.none() | st.integers(1, problem.k - 1))
    return record(
        device=Fingerprint(
            draw(text), draw(st.integers(50, 130)), draw(st.integers(1, 200)), draw(st.integers(1, 200))
        ),
        problem=problem,
        choice=draw(configs),
        latency_us=draw(times_us),
        basis=basis,
        spread=draw(st.floats(0, 10)) if basis == "measured" else None,
        kind=draw(st.sampled_from(["trial", "winner"])),
        reason=draw(text),
        resources=draw(st.none() | st.builds(KernelResources, registers_per_thread=st.integers(0, 255))),
        count=draw(st.integers(1, 10**9)),
        fused=draw(st.none() | st.booleans()),
        followed_by=tuple(sorted(draw(st.lists(text, max_size=3)))),
        padded_from=None if padding is None else (problem.m, problem.n, problem.k - padding),
        versions=Versions(*draw(st.tuples(text, text, text, text))),
    )


LEARNED = record(fused=False, followed_by=("add", "gelu"), padded_from=(511, 4096, 1023))


@given(any_record())
def test_a_record_survives_its_line(one: Record) -> None:
    line = one.to_json()
    assert "\n" not in line
    assert line.isascii()
    assert Record.from_json(line) == one


@given(st.text())
def test_text_is_a_record_or_a_records_error(line: str) -> None:
    try:
        Record.from_json(line)
    except RecordsError as error:
        assert str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(LEARNED.to_dict())), json_values)
def test_a_record_with_any_field_replaced_is_a_record_or_a_records_error(field: str, value: object) -> None:
    try:
        Record.from_json(json.dumps({**LEARNED.to_dict(), field: value}))
    except RecordsError as error:
        assert "\n" not in str(error)


@given(st.lists(any_record(), min_size=1, max_size=3), st.data())
@settings(max_examples=50, deadline=None)
def test_a_file_cut_anywhere_keeps_every_whole_line(records: list[Record], data: st.DataObject) -> None:
    whole = b"".join(each.to_json().encode() + b"\n" for each in records)
    cut = data.draw(st.integers(0, len(whole)))
    path = Path(os.environ["GEMM_TUNER_TEST_FOLDER"]) / "cut.jsonl"
    path.write_bytes(whole[:cut])
    ends = itertools.accumulate(len(each.to_json()) + 1 for each in records)
    expected = [each for each, end in zip(records, ends, strict=True) if end - 1 <= cut]  # its newline may be missing
    assert len(read(path).records) == len(expected)
    append(path, [records[0]])
    after = read(path)
    assert list(after.records) == [*expected, records[0]]
    assert len(after.skipped) <= 1


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMM_TUNER_TEST_FOLDER", str(tmp_path))


@given(st.binary(min_size=1, max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused_in_a_sentence(content: bytes) -> None:
    path = Path(os.environ["GEMM_TUNER_TEST_FOLDER"]) / "any.jsonl"
    path.write_bytes(content)
    try:
        assert read(path).records == ()
    except RecordsError as error:
        assert "not a records file" in str(error)
        with pytest.raises(RecordsError):
            open_for_append(path)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"latency_us": -1.0}, "latency_us"),
        ({"latency_us": float("nan")}, "latency_us"),
        ({"latency_us": None}, "latency_us"),
        ({"latency_us": True}, "latency_us"),
        ({"spread": 0.1}, "spread"),
        ({"basis": "guessed"}, "basis"),
        ({"kind": "loser"}, "kind"),
        ({"count": 0}, "count"),
        ({"time": "yesterday"}, "time"),
        ({"time": "2026-01-02T03:04:05+02:00"}, "UTC"),
        ({"kernel": "tiled"}, "kernel"),
        ({"choice": None}, "kernel"),
        ({"fused": "yes"}, "fused"),
        ({"followed_by": ("gelu", "add")}, "alphabetical"),
        ({"followed_by": "gelu"}, "followed_by"),
        ({"followed_by": (1,)}, "followed_by"),
        ({"padded_from": (512, 4096)}, "three sizes"),
        ({"padded_from": (512, 4096, 0)}, "three sizes"),
        ({"padded_from": (512, 4096, 1025)}, "smaller"),
        ({"padded_from": (512, 4096, 1024)}, "smaller"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(RecordsError, match=says):
        record(**changes)


def test_what_inductor_did_is_written_only_where_it_is_known() -> None:
    fields = {"fused", "followed_by", "padded_from"}
    assert not fields & set(record().to_dict())
    assert fields < set(LEARNED.to_dict())
    assert LEARNED.to_dict()["padded_from"] == [511, 4096, 1023]
    assert Record.from_json(record(fused=False).to_json()).fused is False


def test_a_line_from_before_these_fields_is_still_read() -> None:
    line = """{"schema": "gemm_tuner.record/1", "kind": "winner", "basis": "predicted", "device": {"name":
    "NVIDIA GeForce RTX 3060", "compute_capability": 86, "sm_count": 28, "available_sms": 28}, "problem": {"op": "mm",
    "m": 512, "n": 4096, "k": 1024, "batch": 1, "a_dtype": "float16", "b_dtype": "float16", "out_dtype": "float16",
    "precision": "ieee", "layout": "nt", "alignment": 16, "epilogue": "none"}, "count": 1, "choice": {"family": "tiled",
    "block_m": 128, "block_n": 64, "block_k": 32, "num_warps": 4, "num_stages": 3, "group_m": 8, "split_k": 1},
    "kernel": "gemm_tuner::tiled@0123456789ab", "latency_us": 93.5, "spread": null, "reason": "", "resources": null,
    "versions": {"gemm_tuner": "0.1.0", "torch": "", "triton": "3.7.1", "driver": ""},
    "time": "2026-01-02T03:04:05+00:00"}"""
    assert Record.from_json(line) == record()


def test_a_failed_trial_needs_no_latency_but_a_reason() -> None:
    failed = record(kind="trial", latency_us=None, reason="the compiler ran out of registers")
    assert Record.from_json(failed.to_json()) == failed


def test_torn_and_foreign_lines_are_told_by_number_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.jsonl"
    good = record().to_json()
    newer = good.replace(SCHEMA, "gemm_tuner.record/2")
    path.write_text(f"{good}\n{good[:50]}\n\n{newer}\n{good}\n[1]\n" + '{"x": NaN}\n')
    with caplog.at_level(logging.WARNING, "gemm_tuner"):
        contents = read(path)
    assert [line.number for line in contents.lines] == [1, 5]
    assert [(skip.number, skip.foreign) for skip in contents.skipped] == [(2, False), (4, True), (6, False), (7, False)]
    assert "line 2" in caplog.text and "gemm_tuner.record/2" in caplog.text


def test_missing_empty_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="there is no records file"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    assert read(tmp_path / "empty.jsonl").records == ()
    with pytest.raises(RecordsError, match="cannot read"):
        read(tmp_path)
    (tmp_path / "README.md").write_text("# A page\n")
    with pytest.raises(RecordsError, match="not a records file"):
        append_checked(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text() == "# A page\n"


def append_checked(path: Path) -> None:
    open_for_append(path)
    append(path, [record()])


def test_an_unwritable_place_is_told_before_working(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="no folder"):
        open_for_append(tmp_path / "none" / "r.jsonl")
    with pytest.raises(RecordsError, match="not a regular file"):
        open_for_append(tmp_path)
    with pytest.raises(RecordsError, match="not a regular file"):
        append(Path("/dev/full"), [record()])
    assert open_for_append(tmp_path / "new.jsonl").records == ()
    assert list(tmp_path.iterdir()) == []


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    modules = ("gemm_tuner.records", "gemm_tuner.errors", "records_samples")
    preamble = "import sys\nsys.path.insert(0, sys.argv[1])\n"
    preamble += "".join(f"from {module} import *\n" for module in modules)
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", preamble + textwrap.dedent(code), here, *arguments], stdout=subprocess.PIPE, text=True
    )


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    code = "for i in range(40): append(sys.argv[2], [record(count=i + 1, reason=sys.argv[3] * 500)])"
    with run_python(code, str(path), "a") as one, run_python(code, str(path), "b") as other:
        assert [one.wait(60), other.wait(60)] == [0, 0]
    contents = read(path)
    assert contents.skipped == ()
    for name in ("a", "b"):
        assert [r.count for r in contents.records if r.reason[0] == name] == list(range(1, 41))


def test_a_killed_writer_loses_at_most_the_line_being_written(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    code = """
        for i in range(10**6):
            append(sys.argv[2], [record(count=i + 1)])
            print(i + 1, flush=True)
    """
    with run_python(code, str(path)) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            told = int(writer.stdout.readline())
        writer.kill()
        told = max([told, *(int(line) for line in writer.stdout.read().split())])
    append(path, [aten()])
    *kept, last = read(path).records
    assert [r.count for r in kept][:told] == list(range(1, told + 1))
    assert last == aten()


def test_a_full_disk_keeps_what_was_there_and_says_so(tmp_path: Path) -> None:
    """The limit on file size stands for the full disk: the system takes a part of the write, then refuses."""
    path = tmp_path / "r.jsonl"
    append(path, [record()])
    before = path.read_bytes()
    code = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100}, {len(before) + 100}))
        try:
            append(sys.argv[2], [record(count=2)])
        except RecordsError as error:
            print(error)
    """
    writer = run_python(code, str(path))
    said, _ = writer.communicate(timeout=60)
    assert "cannot write to" in said and "kept" in said
    assert path.read_bytes() == before


def test_concatenation_is_a_merge(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    append(a, [record(), record(count=2)])
    append(b, [record(count=2), record(count=3)])
    (tmp_path / "cat.jsonl").write_bytes(a.read_bytes() + b.read_bytes())
    assert [r.count for r in read(tmp_path / "cat.jsonl").records] == [1, 2, 2, 3]
    tally = merge([a, b], tmp_path / "merged.jsonl")
    assert (tally.kept, tally.dropped) == (3, 1)
    assert [r.count for r in read(tmp_path / "merged.jsonl").records] == [1, 2, 3]
    merge([a, b], a)
    assert a.read_bytes() == (tmp_path / "merged.jsonl").read_bytes()
