"""Records in the forms that others read: serving engines' JSON per device, and Inductor's lookup_table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._core import GemmConfig, GemmProblem
from ..errors import RecordsError
from .file import write_atomically
from .lookup import better
from .record import Fingerprint, Record

SERVING_DTYPES = {"float8_e4m3fn": "fp8_w8a8", "int8": "int8_w8a8"}  # the engines' words; others keep torch's
INDUCTOR_TEMPLATES = {
    "mm": "mm",
    "addmm": "mm",
    "bmm": "bmm",
    "baddbmm": "bmm",
    "int_mm": "mm",
    "mm_plus_mm": "mm_plus_mm",
}
ATEN_UIDS = {"int_mm": "aten::_int_mm", "mm_plus_mm": "aten::_mm_plus_mm"}  # where ATen's name is not Inductor's


@dataclass(frozen=True)
class Left:
    """A winner that a form cannot say, and why."""

    record: Record
    reason: str


@dataclass(frozen=True)
class ServingExport:
    """File name -> {M as text -> config}, and the winners left out."""

    files: dict[str, dict[str, dict[str, int]]]
    left: tuple[Left, ...]


@dataclass(frozen=True)
class LookupTableExport:
    """The dict for `torch._inductor.config.lookup_table.table`, and the winners left out."""

    table: dict[str, list[dict[str, Any]]]
    left: tuple[Left, ...]


def to_serving(records: Iterable[Record]) -> ServingExport:
    """The form that vLLM and SGLang commit: one file per weight shape, device and dtype, one entry per M.

    Its names know no layout, op, epilogue, alignment, SM budget or library kernel: where two winners want one entry,
    the one with more SMs goes first, then a weight stored as engines do ("nt"), then the plain op.
    """
    files: dict[str, dict[str, dict[str, int]]] = {}
    left: list[Left] = []
    taken: set[tuple[str, str]] = set()
    for record in sorted(_winners(records), key=_serving_order):
        name, size = serving_file_name(record), str(record.problem.m)
        if not isinstance(record.choice, GemmConfig):
            left.append(Left(record, "the library kernel won, and the form has no word for it"))
        elif record.choice.split_k > 1:
            left.append(Left(record, "the form has no split along k"))
        elif record.problem.op == "mm_plus_mm":
            left.append(Left(record, "the form has no sum of two products"))
        elif (name, size) in taken:
            left.append(Left(record, f"another winner has the entry {size} of {name}"))
        else:
            taken.add((name, size))
            files.setdefault(name, {})[size] = {
                "BLOCK_SIZE_M": record.choice.block_m,
                "BLOCK_SIZE_N": record.choice.block_n,
                "BLOCK_SIZE_K": record.choice.block_k,
                "GROUP_SIZE_M": record.choice.group_m,
                "num_warps": record.choice.num_warps,
                "num_stages": record.choice.num_stages,
            }
    ordered = {name: dict(sorted(files[name].items(), key=lambda entry: int(entry[0]))) for name in sorted(files)}
    return ServingExport(ordered, tuple(left))


def serving_file_name(record: Record) -> str:
    """`[E=…,]N=…,K=…,device_name=…,dtype=….json`; E is the batch, for batched products only."""
    p = record.problem
    experts = f"E={p.batch}," if p.batch > 1 else ""
    device = record.device.name.replace(" ", "_").replace("/", "_")
    return f"{experts}N={p.n},K={p.k},device_name={device},dtype={SERVING_DTYPES.get(p.a_dtype, p.a_dtype)}.json"


def to_lookup_table(records: Iterable[Record]) -> LookupTableExport:
    """The table of `torch._inductor.lookup_table` (key format of torch 2.13), as plain JSON values.

    A key holds the device's name, each operand's dtype, sizes and strides, and the op; it knows no SM count, so where
    two SM budgets have a winner the larger one's is taken. ATen is always listed: a hit drops every template that it
    does not list. Operands are taken as contiguous, the addend of addmm as a bias (one row for all).
    """
    table: dict[str, list[dict[str, Any]]] = {}
    left: list[Left] = []
    for record in sorted(_winners(records), key=lambda record: -record.device.available_sms):
        reason = _why_no_key(record.problem)
        if reason is None and isinstance(record.choice, GemmConfig) and record.choice.split_k > 1:
            reason = "Inductor's template has no split along k"
        key = "" if reason else lookup_table_key(record.problem, record.device)
        if reason is None and key in table:
            reason = "another winner has its key, which knows no SM budget, alignment or epilogue"
        if reason is None:
            table[key] = _lookup_entries(record)
        else:
            left.append(Left(record, reason))
    return LookupTableExport(table, tuple(left))


def lookup_table_key(problem: GemmProblem, device: Fingerprint) -> str:
    """The key that `LookupTableChoices.make_lookup_key(..., include_device=True)` computes for contiguous operands."""
    p = problem
    a = _node(p.a_dtype, p.batch, p.m, p.k, transposed=p.layout[0] == "t", batched=_is_batched(p))
    b = _node(p.b_dtype, p.batch, p.k, p.n, transposed=p.layout[1] == "t", batched=_is_batched(p))
    nodes, scalars = f"({a}, {b})", ""
    if p.op == "addmm":  # a bias: one row for all
        nodes, scalars = f"((torch.{p.out_dtype}, [{p.m}, {p.n}], [0, 1]), {a}, {b})", "+alpha=1&beta=1"
    if p.op == "baddbmm":
        addend = _node(p.out_dtype, p.batch, p.m, p.n, transposed=False, batched=True)
        nodes, scalars = f"({addend}, {a}, {b})", "+alpha=1&beta=1"
    if p.op == "mm_plus_mm":
        nodes = f"({a}, {b}, {a}, {b})"
    return f"{device.name}+{nodes}{scalars}+{p.op}"


def write_serving(export: ServingExport, folder: str | Path) -> list[Path]:
    """Writes the files into `folder` (made where missing), each whole or not at all; their paths."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordsError(f"cannot make the folder {folder}: {error.strerror}") from None
    for name, entries in export.files.items():
        write_atomically(folder / name, json.dumps(entries, indent=4) + "\n")
    return [folder / name for name in export.files]


def _winners(records: Iterable[Record]) -> list[Record]:
    best: dict[tuple[Fingerprint, GemmProblem], Record] = {}
    for record in records:
        if record.kind == "winner":
            key = (record.device, record.problem)
            best[key] = better(best.get(key), record)
    return list(best.values())


def _serving_order(record: Record) -> tuple[int, bool, bool, bool]:
    p = record.problem
    return (-record.device.available_sms, p.layout != "nt", p.op not in ("mm", "bmm"), p.epilogue != "none")


def _is_batched(problem: GemmProblem) -> bool:
    return problem.op in ("bmm", "baddbmm")


def _why_no_key(problem: GemmProblem) -> str | None:
    p = problem
    if p.op not in INDUCTOR_TEMPLATES:
        return f"the key of {p.op} holds scales that a problem does not"
    contiguous = GemmProblem(m=p.m, n=p.n, k=p.k, layout=p.layout).alignment
    if p.alignment != contiguous:
        return f"its operands are not contiguous (alignment {p.alignment}, not {contiguous}): their strides are unknown"
    return None


def _node(dtype: str, batch: int, rows: int, columns: int, *, transposed: bool, batched: bool) -> str:
    """One operand as the key writes it: dtype, sizes, strides."""
    sizes, strides = [rows, columns], [1, rows] if transposed else [columns, 1]
    if batched:
        sizes, strides = [batch, *sizes], [rows * columns, *strides]
    return f"(torch.{dtype}, {sizes}, {strides})"


def _lookup_entries(record: Record) -> list[dict[str, Any]]:
    p, choice = record.problem, record.choice
    library = {"template_id": ATEN_UIDS.get(p.op, f"aten::{p.op}")}
    if not isinstance(choice, GemmConfig):  # the table cannot name one of the library's algorithms
        return [library]
    tile = {
        "template_id": f"triton::{INDUCTOR_TEMPLATES[p.op]}",
        "BLOCK_M": choice.block_m,
        "BLOCK_N": choice.block_n,
        "BLOCK_K": choice.block_k,
        "GROUP_M": choice.group_m,
        "num_warps": choice.num_warps,
        "num_stages": choice.num_stages,
        # Inductor would keep its own tile's answer, and drop the mask that ours needs
        "EVEN_K": p.k % choice.block_k == 0,
    }
    return [tile, library]
