"""What benchmarks/gpu/op.py found, for a person and for docs: `python benchmarks/gpu/op_table.py results/op.json`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Cell = dict[str, Any]
PAIRS = (("matmul", "torch"), ("compile, tuned", "compile"))  # ours, and what it is compared with


def table(found: dict[str, Any]) -> str:
    """A line for each workload on each part, then one for each product, then what is not there."""
    lines = [f"{found['device']}, {found['date'][:10]}, {found['basis']}; {found['versions']}", "", *_summary(found)]
    lines += [
        "",
        "| SMs | product | torch us | matmul us | compile us | compile, tuned us | kernel |",
        "|" + " --- |" * 7,
    ]
    for cell in found["cells"]:
        times = (_us(cell, way) for way in ("torch", "matmul", "compile", "compile, tuned"))
        words = " | ".join("" if us is None else f"{us:.1f}" for us in times)
        name = f"{cell['workload']}: {cell['layer']}, {cell['m']}x{cell['n']}x{cell['k']}"
        lines.append(f"| {_part(cell)} | {name} | {words} | {_kernel(cell)} |")
    for sentence, entries in (("failed: {what}", found["failures"]), ("left out: {product}", found["left_out"])):
        lines += [f"{sentence.format(**each)} on {_part(each)} SMs: {each['why']}" for each in entries]
    return "\n".join(lines)


def _summary(found: dict[str, Any]) -> Iterator[str]:
    """Of each workload what was timed, weighted by its uses: theirs over ours, above 1 where ours is faster."""
    yield "| SMs | workload | products | not by ATen | torch / matmul | worst | compile / compile, tuned | worst |"
    yield "|" + " --- |" * 8
    for sms, workload in dict.fromkeys((each["sms"], each["workload"]) for each in found["cells"]):
        cells = [each for each in found["cells"] if (each["sms"], each["workload"]) == (sms, workload)]
        ours = sum(each["config"] is not None for each in cells)
        ratios = " | ".join(f"{_ratio(cells, *pair)} | {_worst(cells, *pair)}" for pair in PAIRS)
        yield f"| {_part(cells[0])} | {workload} | {len(cells)} | {ours} | {ratios} |"


def _ratio(cells: Sequence[Cell], ours: str, theirs: str) -> str:
    pairs = [(each["uses"], _us(each, theirs), _us(each, ours)) for each in cells]
    known = [(uses, slow, fast) for uses, slow, fast in pairs if slow is not None and fast is not None]
    if not known:
        return ""
    return f"{sum(uses * slow for uses, slow, _ in known) / sum(uses * fast for uses, _, fast in known):.3f}"


def _worst(cells: Sequence[Cell], ours: str, theirs: str) -> str:
    pairs = [(_us(each, theirs), _us(each, ours)) for each in cells]
    least = min((slow / fast for slow, fast in pairs if slow is not None and fast is not None), default=math.inf)
    return "" if math.isinf(least) else f"{least:.3f}"


def _us(cell: Cell, way: str) -> float | None:
    return float(cell["ways"][way]["gpu_us"]["median"]) if way in cell["ways"] else None


def _part(entry: Cell) -> str:
    return str(entry["sms"] or "all")


def _kernel(cell: Cell) -> str:
    if cell["config"] is None:
        return "ATen"
    return str(cell["config"].get("family", "cuBLASLt"))  # whose algorithms have no family


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))
