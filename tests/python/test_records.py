"""Records files: one self-contained line each, appended whole, read whatever happened to the file."""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemm_tuner import DeviceSpec, FmaRates, GemmConfig, GemmProblem
from gemm_tuner._core import KernelResources
from gemm_tuner.errors import RecordsError
from gemm_tuner.records import (
    SCHEMA,
    Fingerprint,
    Index,
    Record,
    Versions,
    append,
    aten_kernel,
    compact,
    kernel_state,
    lookup_table_key,
    merge,
    open_for_append,
    read,
    to_lookup_table,
    to_serving,
    verify,
    write_serving,
)

TILED = "gemm_tuner::tiled@0123456789ab"
KERNELS = {TILED, "gemm_tuner::split_k@ba9876543210"}
DEVICE = DeviceSpec(
    name="NVIDIA GeForce RTX 3060",
    compute_capability=86,
    sm_count=28,
    clock_mhz=1777,
    bandwidth_gbs=360,
    l2_bytes=3 << 20,
    smem_per_sm_bytes=100 << 10,
    smem_per_block_optin_bytes=99 << 10,
    max_threads_per_sm=1536,
    max_ctas_per_sm=16,
    fma=FmaRates(fp16=256, bf16=256, tf32=128, int8=512, fp32=128),
    source="catalogue",
)
PROBLEM = GemmProblem(m=512, n=4096, k=1024, layout="nt")
CONFIG = GemmConfig(block_m=128, block_n=64, block_k=32, num_warps=4, num_stages=3)
TOO_BIG = GemmConfig(block_m=256, block_n=256, block_k=64, num_warps=8, num_stages=4)


def record(**changes: object) -> Record:
    values: dict[str, object] = {
        "device": Fingerprint.of(DEVICE),
        "problem": PROBLEM,
        "choice": CONFIG,
        "kernel": TILED,
        "latency_us": 93.5,
        "basis": "predicted",
        "kind": "winner",
        "versions": Versions("0.1.0", triton="3.7.1"),
        "time": "2026-01-02T03:04:05+00:00",
    }
    return Record(**{**values, **changes})  # type: ignore[arg-type]


def aten(**changes: object) -> Record:
    problem = changes.get("problem", PROBLEM)
    assert isinstance(problem, GemmProblem)
    return record(choice=None, kernel=aten_kernel(problem), reason="the library kernel is predicted faster", **changes)


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
    return record(
        device=Fingerprint(
            draw(text), draw(st.integers(50, 130)), draw(st.integers(1, 200)), draw(st.integers(1, 200))
        ),
        problem=draw(problems),
        choice=draw(configs),
        latency_us=draw(times_us),
        basis=basis,
        spread=draw(st.floats(0, 10)) if basis == "measured" else None,
        kind=draw(st.sampled_from(["trial", "winner"])),
        reason=draw(text),
        resources=draw(st.none() | st.builds(KernelResources, registers_per_thread=st.integers(0, 255))),
        count=draw(st.integers(1, 10**9)),
        versions=Versions(*draw(st.tuples(text, text, text, text))),
    )


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


@given(st.sampled_from(sorted(record().to_dict())), json_values)
def test_a_record_with_any_field_replaced_is_a_record_or_a_records_error(field: str, value: object) -> None:
    try:
        Record.from_json(json.dumps({**record().to_dict(), field: value}))
    except RecordsError as error:
        assert "\n" not in str(error)


@given(st.lists(any_record(), min_size=1, max_size=3), st.data())
@settings(max_examples=50)
def test_a_file_cut_anywhere_keeps_every_whole_line(records: list[Record], data: st.DataObject) -> None:
    whole = b"".join(each.to_json().encode() + b"\n" for each in records)
    cut = data.draw(st.integers(0, len(whole)))
    path = Path(os.environ["GEMM_TUNER_TEST_FOLDER"]) / "cut.jsonl"
    path.write_bytes(whole[:cut])
    expected = [each for each in records if whole[:cut].find(each.to_json().encode()) >= 0]
    assert len(read(path).records) == len(expected)
    append(path, [records[0]])
    after = read(path)
    assert list(after.records) == [*expected, records[0]]
    assert len(after.skipped) <= 1


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMM_TUNER_TEST_FOLDER", str(tmp_path))


@given(st.binary(min_size=1, max_size=300))
@settings(max_examples=200)
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
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(RecordsError, match=says):
        record(**changes)


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
    preamble = "import sys; sys.path.insert(0, sys.argv[1]); from test_records import *\n"
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", preamble + textwrap.dedent(code), here, *arguments], stdout=subprocess.PIPE, text=True
    )


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    code = "for i in range(40): append(sys.argv[2], [record(count=i + 1, reason=sys.argv[3] * 500)])"
    writers = [run_python(code, str(path), name) for name in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
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
    writer = run_python(code, str(path))
    assert writer.stdout is not None
    for _ in range(20):
        told = int(writer.stdout.readline())
    writer.kill()
    told = max([told, *(int(line) for line in writer.stdout.read().split())])
    writer.wait()
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
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != len(before) + 100


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


def test_measured_beats_predicted_and_newer_beats_older() -> None:
    old = record(latency_us=1.0)
    new = record(latency_us=2.0, time="2026-01-03T00:00:00+00:00")
    measured = record(latency_us=3.0, basis="measured", spread=0.01, time="2025-01-01T00:00:00+00:00")
    later_line = record(latency_us=4.0, time=new.time)

    def found(*records: Record) -> Record | None:
        return Index(records, kernels=KERNELS).exact(PROBLEM, DEVICE)

    assert found(old, new) == found(new, old) == new
    assert found(measured, new) == found(new, measured) == measured
    assert found(new, later_line) == later_line
    assert found() is None


def test_only_winners_of_current_kernels_on_this_device_are_found() -> None:
    others = [
        record(kind="trial"),
        record(kernel="gemm_tuner::tiled@ffffffffffff"),
        record(kernel="inductor::mm@0123456789ab"),
        record(device=Fingerprint.of(DEVICE.with_available_sms(14))),
        record(device=Fingerprint("NVIDIA GeForce RTX 3060 Ti", 86, 38, 38)),
    ]
    assert Index(others, kernels=KERNELS).look_up(PROBLEM, DEVICE) is None
    assert kernel_state(others[1].kernel, KERNELS) == "stale"
    assert kernel_state(others[2].kernel, KERNELS) == "unknown"
    match = Index([*others, record()], kernels=KERNELS).look_up(PROBLEM, DEVICE)
    assert match is not None and match.exact and match.distance == 0 and "this problem" in match.why


def test_a_near_shape_is_found_by_distance_and_only_among_its_kin() -> None:
    near = record(problem=PROBLEM.replace(m=640))
    nearer = record(problem=PROBLEM.replace(m=448))
    far = record(problem=PROBLEM.replace(m=2048))
    strangers = [
        record(problem=PROBLEM.replace(layout="nn")),
        record(problem=PROBLEM.replace(a_dtype="bfloat16", b_dtype="bfloat16", out_dtype="bfloat16")),
        record(problem=PROBLEM.replace(alignment=1)),
    ]
    index = Index([near, nearer, far, *strangers], kernels=KERNELS)
    match = index.look_up(PROBLEM, DEVICE)
    assert match is not None and not match.exact
    assert match.record == nearer
    assert match.distance == pytest.approx(0.1926, abs=1e-3)
    assert "0.19 doublings" in match.why
    assert Index([far, *strangers], kernels=KERNELS).look_up(PROBLEM, DEVICE) is None
    assert Index([far], kernels=KERNELS).look_up(PROBLEM, DEVICE, max_distance=2.0) is not None


def test_legality_is_checked_again_for_a_near_shape() -> None:
    too_big = record(problem=PROBLEM.replace(m=513), choice=TOO_BIG)
    assert Index([too_big], kernels=KERNELS).look_up(PROBLEM, DEVICE) is None
    legal = record(problem=PROBLEM.replace(m=640))
    match = Index([too_big, legal], kernels=KERNELS).look_up(PROBLEM, DEVICE)
    assert match is not None and match.record == legal


def test_measured_is_taken_of_two_equally_near() -> None:
    predicted = record(problem=PROBLEM.replace(m=256))
    measured = record(problem=PROBLEM.replace(m=1024), basis="measured")
    match = Index([predicted, measured], kernels=KERNELS).look_up(PROBLEM, DEVICE)
    assert match is not None and match.record == measured


def test_compact_keeps_the_best_line_of_each_thing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    foreign = '{"schema": "someone/1"}'
    later = "2026-01-03T00:00:00+00:00"
    keep = [
        record(latency_us=2.0, time=later),
        record(kind="trial", latency_us=5.0, time=later),
        record(kind="trial", choice=TOO_BIG),
        record(problem=PROBLEM.replace(m=1)),
        record(kernel="inductor::mm@00", problem=PROBLEM.replace(m=2)),
    ]
    drop = [
        record(latency_us=1.0),
        record(kind="trial", latency_us=4.0),
        record(kernel="gemm_tuner::tiled@ffffffffffff", problem=PROBLEM.replace(m=3)),
    ]
    append(path, [*drop, *keep])
    path.write_text(path.read_text() + foreign + '\n{"schema": "gemm_tu')
    tally = compact(path, tmp_path / "copy.jsonl", kernels=KERNELS)
    assert (tally.kept, tally.dropped) == (len(keep) + 1, len(drop))
    assert list(read(tmp_path / "copy.jsonl").records) == keep
    assert len(read(path).records) == len(keep) + len(drop)
    compact(path, kernels=KERNELS)
    assert path.read_text() == (tmp_path / "copy.jsonl").read_text()
    assert path.read_text().splitlines()[-1] == foreign


def test_verify_says_what_is_wrong_with_each_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    unknown = Fingerprint("NVIDIA Nonesuch", 86, 10, 10)
    other_count = Fingerprint(DEVICE.name, 86, 30, 30)
    append(
        path,
        [
            record(),
            record(kernel="gemm_tuner::tiled@ffffffffffff"),
            record(choice=TOO_BIG),
            record(device=unknown),
            record(device=other_count),
            record(versions=Versions("0.0.1")),
        ],
    )
    path.write_text(path.read_text() + "{torn\n")
    verdicts = verify(
        read(path),
        kernels=KERNELS,
        find_device=lambda one: None if one == unknown else DEVICE,
        gemm_tuner_version="0.1.0",
    )
    assert [verdict.number for verdict in verdicts] == [1, 2, 3, 4, 5, 6, 7]
    faults = [" ".join(verdict.faults) for verdict in verdicts]
    assert faults[0] == faults[3] == faults[5] == ""
    for number, words in [(1, "tune again"), (2, "not legal"), (4, "28 SMs"), (6, "not a line of JSON")]:
        assert words in faults[number]
    assert "not in the catalogue" in verdicts[3].notes[0]
    assert "0.0.1" in verdicts[5].notes[0]


def test_the_serving_form(tmp_path: Path) -> None:
    splitting = CONFIG.replace(family="split_k", split_k=4)
    winners = [
        record(),
        record(problem=PROBLEM.replace(m=16), choice=CONFIG.replace(block_m=16)),
        record(problem=PROBLEM.replace(m=32), choice=splitting, kernel="gemm_tuner::split_k@ba9876543210"),
        aten(problem=PROBLEM.replace(m=64)),
        record(problem=PROBLEM.replace(layout="nn")),
        record(device=Fingerprint.of(DEVICE.with_available_sms(14)), choice=CONFIG.replace(block_m=32)),
        record(problem=PROBLEM.replace(m=8), kind="trial"),
        record(problem=GemmProblem(m=4, n=64, k=32, op="bmm", batch=6, dtype="bfloat16")),
        record(problem=GemmProblem(m=4, n=64, k=32, dtype="float8_e4m3fn")),
    ]
    export = to_serving(winners)
    reasons = sorted(left.reason for left in export.left)
    for reason, words in zip(
        reasons, ("another winner", "another winner", "no split", "library kernel won"), strict=True
    ):
        assert words in reason
    paths = write_serving(export, tmp_path / "out")
    assert sorted(path.name for path in paths) == [
        "E=6,N=64,K=32,device_name=NVIDIA_GeForce_RTX_3060,dtype=bfloat16.json",
        "N=4096,K=1024,device_name=NVIDIA_GeForce_RTX_3060,dtype=float16.json",
        "N=64,K=32,device_name=NVIDIA_GeForce_RTX_3060,dtype=fp8_w8a8.json",
    ]
    entries = json.loads(
        (tmp_path / "out" / "N=4096,K=1024,device_name=NVIDIA_GeForce_RTX_3060,dtype=float16.json").read_text()
    )
    assert list(entries) == ["16", "512"]
    assert entries["512"] == {
        "BLOCK_SIZE_M": 128,
        "BLOCK_SIZE_N": 64,
        "BLOCK_SIZE_K": 32,
        "GROUP_SIZE_M": 8,
        "num_warps": 4,
        "num_stages": 3,
    }


def test_the_lookup_table_lists_the_tile_and_the_library() -> None:
    odd = GemmProblem(m=64, n=256, k=1040, layout="nt")
    export = to_lookup_table([record(problem=odd), aten(problem=odd.replace(m=1))])
    tile, library = export.table[lookup_table_key(odd, Fingerprint.of(DEVICE))]
    assert tile["template_id"] == "triton::mm" and library == {"template_id": "aten::mm"}
    assert (tile["BLOCK_M"], tile["BLOCK_K"], tile["EVEN_K"]) == (128, 32, False)
    assert export.table[lookup_table_key(odd.replace(m=1), Fingerprint.of(DEVICE))] == [library]
    assert json.loads(json.dumps(export.table)) == export.table


def test_what_the_lookup_table_cannot_say_is_told() -> None:
    padded = PROBLEM.replace(alignment=2)
    splitting = CONFIG.replace(family="split_k", split_k=4)
    scaled = GemmProblem(m=16, n=16, k=16, dtype="float8_e4m3fn", op="scaled_mm")
    left = [
        record(problem=padded),
        record(problem=scaled),
        record(problem=PROBLEM.replace(m=7), choice=splitting, kernel="gemm_tuner::split_k@ba9876543210"),
        record(device=Fingerprint.of(DEVICE.with_available_sms(14))),
    ]
    export = to_lookup_table([*left, record()])
    assert len(export.table) == 1
    reasons = " / ".join(each.reason for each in export.left)
    for words in ("not contiguous", "scales", "split", "no SM budget"):
        assert words in reasons
