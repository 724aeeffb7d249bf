import io
import json
import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemm_tuner import GemmProblem
from gemm_tuner.errors import ProblemsError
from gemm_tuner.problems import MAX_COUNT, SCHEMA, CountedProblem, merge, read_problems, write_problems

DOCS = Path(__file__).parents[2] / "docs"
SIZES = st.integers(1, 2**31 - 1)
FLOATS = ("float16", "bfloat16", "float32")
FLOAT8S = ("float8_e4m3fn", "float8_e5m2")


@st.composite
def legal_problems(draw):
    op = draw(st.sampled_from(("mm", "addmm", "bmm", "baddbmm", "int_mm", "scaled_mm", "mm_plus_mm")))
    family = draw(st.sampled_from((FLOATS, FLOAT8S, ("int8",))))
    a = draw(st.sampled_from(family))
    b = draw(st.sampled_from(family)) if family is FLOAT8S else a
    return GemmProblem(
        op=op,
        m=draw(SIZES),
        n=draw(SIZES),
        k=draw(SIZES),
        batch=draw(SIZES) if op in ("bmm", "baddbmm") else 1,
        a_dtype=a,
        b_dtype=b,
        out_dtype="int32" if a == "int8" and op != "scaled_mm" else draw(st.sampled_from(FLOATS)),
        precision=draw(st.sampled_from(("ieee", "tf32"))) if a == "float32" else "ieee",
        scaling=draw(st.sampled_from(("tensor", "row"))) if op == "scaled_mm" else "tensor",
        layout=draw(st.sampled_from(("nn", "nt", "tn", "tt"))),
        alignment=draw(st.sampled_from((1, 2, 4, 8, 16))),
        epilogue=draw(st.sampled_from(("none", "bias", "relu", "bias+gelu_tanh", "silu+residual"))),
    )


COUNTED = st.builds(CountedProblem, legal_problems(), st.integers(1, 2**40))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("problems") / "problems.jsonl"


def refusal(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ProblemsError) as caught:
        read_problems(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 600
    return message


def line(**fields):
    return json.dumps({"schema": SCHEMA, "m": 8, "n": 8, "k": 8, "dtype": "float16", **fields}) + "\n"


@given(problems=st.lists(COUNTED, min_size=1, max_size=8))
def test_what_is_written_is_read(path, problems):
    write_problems(path, problems)
    assert read_problems(path) == merge(problems)


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_arbitrary_bytes_are_refused_with_one_sentence(path, content):
    refusal(path, content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(
    name=st.sampled_from((*GemmProblem(m=1, n=1, k=1).to_dict(), "count", "other")) | st.text(max_size=8), value=JSON
)
def test_a_line_with_one_field_replaced_is_read_or_refused(path, name, value):
    path.write_text(json.dumps({**json.loads(line()), name: value}))
    try:
        (counted,) = read_problems(path)
    except ProblemsError as error:
        assert f"{path}, line 1: " in str(error)
    else:
        assert value in (counted.problem.to_dict().get(name), counted.count, SCHEMA, "float16")


@settings(max_examples=20)
@given(problems=st.lists(COUNTED, min_size=1, max_size=3), cut=st.floats(0, 1))
def test_a_cut_file_is_refused_or_gives_a_prefix(path, problems, cut):
    write_problems(path, problems)
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    try:
        read = read_problems(path)
    except ProblemsError:
        return
    assert read == merge(problems)[: len(read)]


def test_every_cut_of_one_file(path):
    problems = [CountedProblem(GemmProblem(m=m, n=8, k=8), m) for m in (1, 2)]
    write_problems(path, problems)
    content = path.read_bytes()
    whole = 0
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            assert read_problems(path) == problems[: content[: length + 1].count(b"\n")]
            whole += 1
        except ProblemsError:
            pass
    assert whole == 3  # the first line without and with its newline, and the last line without it


def test_equal_problems_merge_in_order_of_first_appearance():
    first, second = GemmProblem(m=1, n=2, k=3), GemmProblem(m=4, n=5, k=6)
    merged = merge([CountedProblem(first, 2), CountedProblem(second), CountedProblem(first, 3)])
    assert merged == [CountedProblem(first, 5), CountedProblem(second, 1)]


def test_two_files_in_a_row_are_a_valid_merge(path):
    problem = CountedProblem(GemmProblem(m=1, n=2, k=3), 2)
    write_problems(path, [problem])
    path.write_bytes(path.read_bytes() + b"\n" + path.read_bytes())
    assert read_problems(path) == [CountedProblem(problem.problem, 4)]


def test_the_line_shown_in_the_docs(path):
    shown = (DOCS / "problems.md").read_text().split("```json\n")[1].split("```")[0]
    path.write_text(shown)
    (counted,) = read_problems(path)
    assert str(counted.problem) == "mm 512x2048x2048 bfloat16 nt align 16"
    assert json.loads(shown) == {"schema": SCHEMA, **counted.problem.to_dict(), "count": counted.count}


def test_a_line_written_by_hand_takes_the_defaults_of_gemm_problem(path):
    path.write_text(line(n=24))
    assert read_problems(path) == [CountedProblem(GemmProblem(m=8, n=24, k=8, dtype="float16"), 1)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"m": -1}, "m must be between 1 and 2147483647, got -1"),
        ({"n": 0}, "n must be between 1 and 2147483647, got 0"),
        ({"k": 2**31}, "k must be between 1 and 2147483647, got 2147483648"),
        ({"k": 10**30}, "k is out of range"),
        ({"m": 8.0}, "m must be an integer, got 8.0"),
        ({"m": "8"}, "m must be an integer, got '8'"),
        ({"m": True}, "m must be an integer, got True"),
        ({"m": None}, "m must be an integer, got None"),
        ({"m": float("nan")}, "m must be an integer, got nan"),
        ({"dtype": "float12"}, "unknown dtype 'float12'"),
        ({"layout": "xy"}, "unknown layout 'xy'"),
        ({"\ud800": 1}, ""),
        ({"colour": "red"}, "unknown argument 'colour'"),
        ({"count": 0}, "count must be between 1"),
        ({"count": MAX_COUNT + 1}, "count must be between 1"),
        ({"count": 1.5}, "count must be an integer, got 1.5"),
        ({"count": True}, "count must be an integer, got True"),
        ({"schema": "gemm_tuner.record/1"}, "expected the schema 'gemm_tuner.problem/1', found 'gemm_tuner.record/1'"),
        ({"schema": None}, "expected the schema 'gemm_tuner.problem/1', found None"),
    ],
)
def test_a_bad_field_is_named_with_its_line(path, fields, said):
    message = refusal(path, line() + "\n" + line(**fields))
    assert message.startswith(f"{path}, line 3: ") and said in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no problems"),
        ("\n \n", "holds no problems"),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "not UTF-8 text"),
        (line()[:-20], "not a whole JSON object"),
        ("[1, 2]", "expected a JSON object, found list"),
        ("[" * 100_000, "not a problem"),
        (line().replace("8", "8" * 5000, 1), ""),
        (line(count=MAX_COUNT) * 2, "add up to too much"),
        (json.dumps({"schema": SCHEMA, "m": 1, "n": 1}), "missing argument 'k'"),
    ],
)
def test_a_file_that_is_no_problems_file_is_refused(path, content, said):
    assert said in refusal(path, content)


@pytest.mark.parametrize("name", ["missing.jsonl", "", "nul\0.jsonl"])
def test_a_file_that_cannot_be_opened(tmp_path, name):
    with pytest.raises(ProblemsError, match="cannot read the problems file"):
        read_problems(f"{tmp_path}/{name}")


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(line().encode() + b"{")))
    with pytest.raises(ProblemsError, match="standard input, line 2"):
        read_problems("-")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(line().encode())))
    assert read_problems("-") == [CountedProblem(GemmProblem(m=8, n=8, k=8), 1)]


def test_no_problems_are_not_written(tmp_path):
    with pytest.raises(ProblemsError, match="no problems to write"):
        write_problems(tmp_path / "p.jsonl", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["no/such/directory.jsonl", "x" * 300, "nul\0"])
def test_an_unwritable_output_is_said(tmp_path, name):
    with pytest.raises(ProblemsError, match="cannot write the problems file"):
        write_problems(f"{tmp_path}/{name}", [CountedProblem(GemmProblem(m=1, n=1, k=1))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, step):
    path = tmp_path / "p.jsonl"
    write_problems(path, [CountedProblem(GemmProblem(m=1, n=1, k=1))])
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(ProblemsError, match="No space left on device"):
        write_problems(path, [CountedProblem(GemmProblem(m=2, n=2, k=2))])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_link_is_written_through_and_a_full_device_is_said(tmp_path):
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.touch()
    link.symlink_to(target)
    write_problems(link, [CountedProblem(GemmProblem(m=1, n=1, k=1))])
    assert link.is_symlink() and len(read_problems(target)) == 1
    if os.path.exists("/dev/full") and stat.S_ISCHR(os.stat("/dev/full").st_mode):
        with pytest.raises(ProblemsError, match="No space left on device"):
            write_problems("/dev/full", [CountedProblem(GemmProblem(m=1, n=1, k=1))])
