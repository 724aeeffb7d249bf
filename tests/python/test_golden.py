"""Golden rankings: what the model says today of real problems on catalogued devices, so that a change of it is seen.

`pytest --regenerate-golden` rewrites tests/golden/<device>.json; the commit that does so says why the order changed.
Every latency in these files is predicted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gemm_tuner as gt

GOLDEN = Path(__file__).parents[1] / "golden"
REWRITE = "pytest --regenerate-golden"
TOP_K = 4
DEVICES = (
    "rtx-3060",
    "rtx-4060",
    "rtx-5070",
    "t4",
    "l4",
    "a30",
    "a100-sxm4-40gb",
    "jetson-agx-orin",
    "gb10",
    "h100-sxm",
    "h100-sxm-mig-1g.10gb",
)
PROBLEMS = (
    # a language model's prefill: projections and the two sides of its feed-forward part
    gt.GemmProblem(m=512, n=2048, k=2048, dtype="bfloat16", layout="nt", alignment=16),
    gt.GemmProblem(m=512, n=8192, k=2048, dtype="float16", layout="nt", alignment=16),
    gt.GemmProblem(m=512, n=2048, k=8192, dtype="float16", layout="nt", alignment=16),
    # its decoding: one token, and sixteen through the vocabulary
    gt.GemmProblem(m=1, n=8192, k=2048, dtype="bfloat16", layout="nt", alignment=16),
    gt.GemmProblem(m=16, n=128256, k=2048, dtype="float16", layout="nt", alignment=16),
    # attention scores
    gt.GemmProblem(m=512, n=512, k=64, dtype="float16", layout="nt", alignment=16, op="bmm", batch=32),
    # few tiles, long k
    gt.GemmProblem(m=64, n=64, k=16384, dtype="float16", alignment=16),
    gt.GemmProblem(m=128, n=512, k=8192, dtype="float16", layout="tn", alignment=16),
    # large, and odd
    gt.GemmProblem(m=4096, n=4096, k=4096, dtype="float16", alignment=16),
    gt.GemmProblem(m=999, n=1001, k=997, dtype="float16", alignment=1),
    # other types
    gt.GemmProblem(m=1024, n=1024, k=1024, dtype="float32", precision="tf32", alignment=16),
    gt.GemmProblem(m=1024, n=1024, k=1024, dtype="float32", alignment=16),
    gt.GemmProblem(m=512, n=4096, k=4096, dtype="int8", out_dtype="int32", op="int_mm", layout="nt", alignment=16),
    gt.GemmProblem(
        m=512, n=4096, k=4096, dtype="float8_e4m3fn", out_dtype="bfloat16", op="scaled_mm", layout="nt", alignment=16
    ),
)

Rankings = dict[str, Any]  # {problem: {"library": latency, "ranked": ["config: latency", best first]}}


def in_us(latency_us: float) -> str:
    """Three significant digits."""
    return f"{float(f'{latency_us:.3g}'):g} us"


def rankings_of(device: gt.DeviceSpec) -> Rankings:
    return {
        str(problem): {
            "library": in_us(gt.predict_library(problem, device)),
            "ranked": [f"{p.config}: {in_us(p.latency_us)}" for p in gt.rank(problem, device, top_k=TOP_K)],
        }
        for problem in PROBLEMS
    }


def differences(was: Rankings, now: Rankings) -> Iterator[str]:
    """One entry for each place that is not what it was."""
    absent = {"library": "absent", "ranked": []}
    for problem in {**was, **now}:
        old, new = was.get(problem, absent), now.get(problem, absent)
        places = max(len(old["ranked"]), len(new["ranked"]))
        before = [old["library"], *old["ranked"], *["nothing"] * (places - len(old["ranked"]))]
        after = [new["library"], *new["ranked"], *["nothing"] * (places - len(new["ranked"]))]
        for place, (b, a) in enumerate(zip(before, after, strict=True)):
            if b != a:
                yield f"{problem}, {f'place {place}' if place else 'the library'}\n    was  {b}\n    now  {a}"


@pytest.mark.parametrize("slug", DEVICES)
def test_rankings_are_what_they_were(slug: str, pytestconfig: pytest.Config) -> None:
    device = gt.device(slug)
    path = GOLDEN / f"{slug}.json"
    now: dict[str, Any] = {"device": str(device), "rankings": rankings_of(device)}
    if pytestconfig.getoption("--regenerate-golden"):
        path.write_text(json.dumps(now, indent=1) + "\n")
        pytest.skip(f"{path.name} was rewritten")
    was = json.loads(path.read_text())
    assert was["device"] == now["device"]
    changes = list(differences(was["rankings"], now["rankings"]))
    if changes:
        pytest.fail(
            f"{len(changes)} places differ from {path.name} (where that is meant: {REWRITE}):\n" + "\n".join(changes),
            pytrace=False,
        )


def test_every_golden_file_belongs_to_a_device() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(DEVICES)


@pytest.mark.parametrize("slug", DEVICES)
def test_goldens_are_full(slug: str) -> None:
    """A golden file is worth nothing where a ranking went missing: it may be empty only where the dtype is."""
    rankings = json.loads((GOLDEN / f"{slug}.json").read_text())["rankings"]
    for problem in PROBLEMS:
        lacking = gt.why_illegal(problem, gt.GemmConfig(), gt.device(slug)) or ""
        expected = 0 if "needs compute capability" in lacking else TOP_K
        assert len(rankings[str(problem)]["ranked"]) == expected, str(problem)


def test_a_difference_names_the_problem_the_place_and_both_sides() -> None:
    was = {"p": {"library": "9 us", "ranked": ["a: 1 us", "b: 2 us"]}, "q": {"library": "3 us", "ranked": []}}
    now = {
        "p": {"library": "9 us", "ranked": ["a: 1 us", "c: 2 us", "b: 2 us"]},
        "q": {"library": "4 us", "ranked": []},
    }
    assert list(differences(was, was)) == []
    assert list(differences(was, now)) == [
        "p, place 2\n    was  b: 2 us\n    now  c: 2 us",
        "p, place 3\n    was  nothing\n    now  b: 2 us",
        "q, the library\n    was  3 us\n    now  4 us",
    ]
    assert list(differences({}, {"q": was["q"]})) == ["q, the library\n    was  absent\n    now  3 us"]
