"""docs/model.md against the code it describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gemm_tuner as gt

PAGE = (Path(__file__).parents[2] / "docs" / "model.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| ([\d.]+) \| (?:([\d.]+) to ([\d.]+))? \|", re.MULTILINE)


def test_every_constant_is_listed_with_its_value_and_the_bounds_it_was_chosen_in() -> None:
    pytest.importorskip("scipy")
    import fit_model

    listed = {name: (float(value), low, high) for name, value, low, high in ROW.findall(PAGE)}
    constants = gt.ModelConstants().to_dict()
    assert {name: value for name, (value, _, _) in listed.items()} == constants
    bounds = {name: (float(low), float(high)) for name, (_, low, high) in listed.items() if low}
    assert bounds == fit_model.BOUNDS
