"""Recorded timings as values: of a sweep file (JSON lines, as benchmarks/sweep.py writes it), or of a timing table.

A sweep file is a header {device, sm_count, arch, code_arch, date, dtype, columns, configs, ...} whose `configs` are
rows of `columns` (BM, BN, BK, warps, stages, group_m, split_k, ...), then a line per problem and SM count: {m, n, k,
dtype, layout, sms, aten_us: [microseconds, ...], t: {index of a config: [microseconds, ...]}, bad: {index: reason}}.
Both may say more.
"""

from __future__ import annotations

import gzip
import json
import statistics
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gemm_tuner as gt
from gemm_tuner._core import architecture
from timing_table import read_timing_table, scored

DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
FIELDS = {"BM": "block_m", "BN": "block_n", "BK": "block_k", "warps": "num_warps", "stages": "num_stages"}
SAME = ("group_m", "split_k")
RESOURCES = ("shared_bytes", "regs", "spills")
TABLES_DEVICE = "a100-sxm4-40gb"  # the one GPU that the public tables in this format were measured on

Choice = gt.GemmConfig | None  # None is the library


@dataclass(frozen=True)
class Row:
    """What was measured of one problem on so many SMs: microseconds by choice, and why some configs are out."""

    problem: gt.GemmProblem
    sms: int
    repeats_us: dict[Choice, tuple[float, ...]]
    bad: dict[gt.GemmConfig, str]

    @cached_property
    def latency_us(self) -> dict[Choice, float]:
        """The median of each choice's repeats."""
        return {choice: statistics.median(repeats) for choice, repeats in self.repeats_us.items()}

    @cached_property
    def configs(self) -> list[gt.GemmConfig]:
        return [choice for choice in self.repeats_us if choice is not None]

    def best_us(self, choices: Iterable[Choice] | None = None) -> float:
        """The least median, of all choices or of those given."""
        return min(self.latency_us[choice] for choice in (self.latency_us if choices is None else choices))

    @property
    def half(self) -> str:
        """`a` or `b`, the same for a problem at every SM count: what is learned on one half is judged on the other."""
        return "ab"[zlib.crc32(repr(self.problem.to_dict()).encode()) % 2]


@dataclass(frozen=True)
class Recording:
    """A whole file. `torn`: its end is missing, as a killed sweep leaves it; what came before counts."""

    name: str
    device: str
    code_arch: int | None
    rows: tuple[Row, ...]
    torn: bool = False

    @property
    def sm_counts(self) -> list[int]:
        return sorted({row.sms for row in self.rows})

    def spec(self, sms: int) -> gt.DeviceSpec:
        """The device as the row's kernels saw it: its SMs, and the architecture that their code was made for."""
        return spec_of(gt.device(self.device), sms, self.code_arch)


def spec_of(device: gt.DeviceSpec, sms: int, code_arch: int | None = None) -> gt.DeviceSpec:
    """The device with so many SMs as code of another compute capability sees it, under that one's limit of memory."""
    spec = device.with_available_sms(sms)
    if code_arch in (None, device.compute_capability):
        return spec
    limit = min(device.smem_per_block_optin_bytes, architecture(code_arch)["smem_per_block_optin_bytes"])
    return spec.replace(compute_capability=code_arch, smem_per_block_optin_bytes=limit)


class SweepWriter:
    """Writes a sweep file. It is whole after each line: where it is compressed, each is a gzip member of its own."""

    def __init__(
        self, path: Path, about: Mapping[str, Any], configs: Mapping[gt.GemmConfig, Sequence[gt.KernelResources]]
    ) -> None:
        """about: what the header says besides. configs: all that rows name, each with what its kernels need."""
        self._file = path.open("wb", buffering=0)
        self._packed: Callable[[bytes], bytes] = gzip.compress if path.suffix == ".gz" else bytes
        self._index = {config: i for i, config in enumerate(configs)}
        rows = [[*_values(config), *_most(needs)] for config, needs in configs.items()]
        self._write({**about, "columns": [*FIELDS, *SAME, *RESOURCES], "configs": rows})

    def __enter__(self) -> SweepWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: Row, **more: Any) -> None:
        """more: what the line says besides."""
        named = {"m": row.problem.m, "n": row.problem.n, "k": row.problem.k, "layout": row.problem.layout}
        word = {ours: theirs for theirs, ours in DTYPES.items()}.get(row.problem.dtype, row.problem.dtype)
        times = {choice: [round(us, 3) for us in repeats] for choice, repeats in row.repeats_us.items()}
        aten_us = times.pop(None, [])
        t = {self._index[config]: repeats for config, repeats in times.items() if config is not None}
        bad = {self._index[config]: why for config, why in row.bad.items()}
        self._write({**named, "dtype": word, "sms": row.sms, "aten_us": aten_us, "t": t, "bad": bad, **more})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(self._packed(json.dumps(line).encode() + b"\n"))


def _values(config: gt.GemmConfig) -> list[int]:
    return [getattr(config, name) for name in (*FIELDS.values(), *SAME)]


def _most(needs: Sequence[gt.KernelResources]) -> tuple[int | None, ...]:
    """Of what its kernels need, the most of each."""
    rows = [(each.smem_bytes, each.registers_per_thread, each.spill_bytes) for each in needs]
    return tuple(map(max, zip(*rows, strict=True))) if rows else (None,) * len(RESOURCES)


def read_recording(path: Path, device: str | None = None) -> Recording:
    """A timing table (.csv, .csv.gz: its 16-bit problems with 16 configs or more), else a sweep file."""
    if path.name.removesuffix(".gz").endswith(".csv"):
        return _read_table(path, device or TABLES_DEVICE)
    return _read_sweep(path, device)


def _read_table(path: Path, device: str) -> Recording:
    sms = gt.device(device).sm_count
    rows = [
        Row(timed.problem, sms, {None: (timed.library_us,), **{c: (us,) for c, us in timed.latency_us.items()}}, {})
        for timed in scored(read_timing_table(path))
        if timed.library_us < float("inf")
    ]
    return Recording(path.name, device, None, tuple(rows))


def _read_sweep(path: Path, device: str | None) -> Recording:
    lines = _lines(path)
    header = next(lines, None)
    if header is None or "configs" not in header:
        raise ValueError(f"{path}: the first line is no sweep's header: it needs `device`, `columns` and `configs`")
    configs = [_config(dict(zip(header["columns"], values, strict=True))) for values in header["configs"]]
    rows: list[Row] = []
    torn = False
    for line in lines:
        if line is None:
            torn = True
            break
        rows.append(_row(line, configs))
    return Recording(path.name, device or header["device"], header.get("code_arch"), tuple(rows), torn)


def _lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """Each line's object; None, and nothing after it, where the file is torn."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        try:
            for line in file:
                yield json.loads(line)
        except (EOFError, json.JSONDecodeError):  # a gzip stream, or a line, without its end
            yield None


def _config(named: dict[str, Any]) -> gt.GemmConfig:
    fields = {ours: named[theirs] for theirs, ours in FIELDS.items()}
    return gt.GemmConfig(**fields, **{name: named[name] for name in SAME})


def _row(line: dict[str, Any], configs: list[gt.GemmConfig]) -> Row:
    repeats: dict[Choice, tuple[float, ...]] = {configs[int(i)]: tuple(us) for i, us in line["t"].items()}
    if line["aten_us"]:
        repeats[None] = tuple(line["aten_us"])
    problem = gt.GemmProblem(
        m=line["m"],
        n=line["n"],
        k=line["k"],
        dtype=DTYPES.get(line["dtype"], line["dtype"]),
        layout=line["layout"],
    )
    return Row(problem, line["sms"], repeats, {configs[int(i)]: why for i, why in line["bad"].items()})
