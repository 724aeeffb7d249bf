"""docs/model.md against the code it describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gemm_tuner as gt

PAGE = (Path(__file__).parents[2] / "docs" / "model.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| ([\d.]+) \| (?:([\d.]+) to ([\d.]+))? \|", re.MULTILINE)


def test_every_constant_is_listed_with_its_value() -> None:
    assert {name: float(value) for name, value, _, _ in ROW.findall(PAGE)} == gt.ModelConstants().to_dict()


def test_and_with_the_bounds_that_it_was_chosen_in() -> None:
    pytest.importorskip("scipy")
    import fit_model

    assert {name: (float(low), float(high)) for name, _, low, high in ROW.findall(PAGE) if low} == fit_model.BOUNDS
