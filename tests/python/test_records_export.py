"""Records in the forms that serving engines and Inductor read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemm_tuner import GemmProblem
from gemm_tuner.records import Fingerprint, lookup_table_key, to_lookup_table, to_serving, write_serving
from records_samples import CONFIG, DEVICE, PROBLEM, aten, record


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


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("op", ["mm", "addmm", "bmm", "baddbmm", "int_mm", "mm_plus_mm"])
def test_the_key_is_the_one_that_inductor_computes(op: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", minversion="2.13")
    tables = pytest.importorskip("torch._inductor.lookup_table")
    from torch._inductor import ir
    from torch._inductor.graph import GraphLowering
    from torch._inductor.kernel_inputs import MMKernelInputs
    from torch._inductor.virtualized import V

    batched = op in ("bmm", "baddbmm")
    dtype = "int8" if op == "int_mm" else "bfloat16"
    problem = GemmProblem(m=48, n=80, k=112, dtype=dtype, layout=layout, op=op, batch=3 if batched else 1)

    def stored(rows: int, columns: int, *, transposed: bool) -> Any:
        lead = [3] if batched else []
        tensor = torch.empty(*lead, *([columns, rows] if transposed else [rows, columns]), device="meta")
        return tensor.transpose(-1, -2) if transposed else tensor

    operands = [stored(48, 112, transposed=layout[0] == "t"), stored(112, 80, transposed=layout[1] == "t")]
    if op == "addmm":
        operands.insert(0, torch.empty(80, device="meta").expand(48, 80))
    if op == "baddbmm":
        operands.insert(0, torch.empty(3, 48, 80, device="meta"))
    if op == "mm_plus_mm":
        operands *= 2
    nodes = [
        ir.InputBuffer(
            name=f"operand{i}",
            layout=ir.FixedLayout(torch.device("cuda", 0), getattr(torch, dtype), [*each.shape], [*each.stride()]),
        )
        for i, each in enumerate(operands)
    ]
    scalars: dict[str, float | int] | None = {"alpha": 1, "beta": 1} if "add" in op else None
    monkeypatch.setattr(tables.LookupTableChoices, "_get_device_key", staticmethod(lambda device: DEVICE.name))
    with V.set_graph_handler(GraphLowering(torch.fx.symbolic_trace(torch.nn.Identity()))):
        inputs = MMKernelInputs(nodes, scalars=scalars)
        expected = tables.LookupTableChoices().make_lookup_key(inputs, op, include_device=True)
    assert lookup_table_key(problem, Fingerprint.of(DEVICE)) == expected


def test_the_templates_are_named_as_inductor_names_them() -> None:
    pytest.importorskip("torch", minversion="2.13")
    from torch._inductor.kernel import bmm, mm
    from torch._inductor.kernel.mm_plus_mm import aten_mm_plus_mm, mm_plus_mm_template

    ours = {}
    for op, dtype in {
        "mm": "float16",
        "addmm": "float16",
        "bmm": "float16",
        "baddbmm": "float16",
        "int_mm": "int8",
        "mm_plus_mm": "float16",
    }.items():
        problem = GemmProblem(m=64, n=64, k=64, op=op, dtype=dtype)
        (entries,) = to_lookup_table([record(problem=problem)]).table.values()
        ours[op] = [entry["template_id"] for entry in entries]
    assert ours == {
        "mm": [mm.mm_template.uid, mm.aten_mm.uid],
        "addmm": [mm.mm_template.uid, mm.aten_addmm.uid],
        "bmm": [bmm.bmm_template.uid, bmm.aten_bmm.uid],
        "baddbmm": [bmm.bmm_template.uid, bmm.aten_baddbmm.uid],
        "int_mm": [mm.mm_template.uid, mm.aten__int_mm.uid],
        "mm_plus_mm": [mm_plus_mm_template.uid, aten_mm_plus_mm.uid],
    }
