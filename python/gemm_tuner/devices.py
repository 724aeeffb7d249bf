"""The GPU in this machine, and a catalogue of GPUs that are not.

The catalogue is `catalogue.csv`: one row per device, with its source. What every device of an architecture shares
(shared memory, registers, tensor-core rates) comes from the core's architecture table, MIG profiles from `mig`.
What no source gives follows a rule below, and the field is named in `DeviceSpec.estimated`.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from . import _core, calibration, driver, mig
from ._core import DeviceSpec
from .errors import UnknownDeviceError

_log = logging.getLogger("gemm_tuner")

# Board watts per dense fp16 TFLOPS actually sustained in large GEMMs, by compute capability: what a card does under its
# power limit when its source says nothing. Anchored by one card each: T4 sustains about half of 65 TFLOPS on 70 W,
# L4 about 35 % of 121 on 72 W, A100 SXM about 88 % of 312 on 400 W, H100 SXM about 73 % of 989 on 700 W, B200 about
# 74 % of 2250 on 1000 W. Ampere's and Blackwell's GDDR boards and the Jetsons take the L4's, Volta the T4's.
_WATTS_PER_TFLOPS = {
    70: 2.15, 72: 2.15, 75: 2.15, 80: 1.45, 86: 1.7, 87: 1.7, 89: 1.7, 90: 0.97, 100: 0.6, 110: 0.6, 120: 1.7, 121: 1.7,
}  # fmt: skip

# L2 per SM where no source gives the total: the least of the architecture's catalogued parts, rounded down; Thor, which
# has no catalogued relative, takes GB10's.
_L2_KIB_PER_SM = {86: 64, 87: 256, 110: 512}

# Dense rates of parts below their architecture's: GeForce halves float32 accumulation, H20 is a quarter of H100.
_RATE_CLASSES = ("full", "half", "quarter")

# Words that people leave out: `3060` is looked up as itself, then as rtx3060, and so on.
_FAMILIES = ("", "rtx", "quadro", "tesla", "jetson")

_MISSPELT_SIMILARITY = 0.8  # of difflib; `rxt3060` to `rtx3060` has 0.86
_SUGGESTIONS = 5


@dataclass(frozen=True)
class Row:
    """One line of the catalogue: a device as its sources describe it. Empty cells are None."""

    slug: str
    name: str  # as the driver and torch report it; some parts share one
    aliases: tuple[str, ...]
    compute_capability: int
    sm_count: int
    clock_mhz: tuple[int, int]  # boost; laptop makers choose within a range
    bandwidth_gbs: float
    l2_kib: int | None
    tdp_w: tuple[float, float] | None
    memory_gb: float
    fp32_accumulate: str  # tensor-core rate with float32 accumulation: full | half | quarter of the architecture's
    sustained_fraction: float | None
    fp16_tflops: float | None  # dense, float32 accumulation, as NVIDIA publishes it; a check, not an input
    source: str


def device(name: str | None = None, *, sm_budget: int | None = None) -> DeviceSpec:
    """The GPU of that name from the catalogue, or the current GPU of this machine (`local`) when no name is given.

    `name` is a slug (`rtx-3060`), a name as torch reports it (`NVIDIA GeForce RTX 3060`), an alias or an unambiguous
    near miss of one (`rtx3060`, `RTX 3060 12GB`, `3060`, `rxt 3060`); a MIG profile comes after its GPU
    (`a100-40gb-mig-1g.5gb`). Case, spaces and punctuation do not matter. `sm_budget` caps the SMs that a kernel may
    use.

    Raises UnknownDeviceError (the message says which names are near), the driver's errors where there is no GPU to
    ask, and ValueError for an SM budget below 1.
    """
    spec = local() if name is None else catalogue()[_resolve(name)]
    return spec if sm_budget is None else spec.with_available_sms(sm_budget)


def local(ordinal: int | None = None) -> DeviceSpec:
    """The GPU of that number, else the current one: as the driver and the catalogue describe it, and as it was measured
    where it was calibrated. Raises the driver's errors where there is no GPU to ask."""
    return calibration.applied(completed(driver.query(ordinal)), ordinal)


@cache
def catalogue() -> Mapping[str, DeviceSpec]:
    """Every device known ahead of time, MIG profiles included, by slug. Read once, on first use."""
    specs: dict[str, DeviceSpec] = {}
    for row in rows().values():
        specs[row.slug] = spec_of(row)
        for profile, sliced in mig.profiles(specs[row.slug], row.memory_gb).items():
            specs[f"{row.slug}-mig-{profile}"] = sliced
    return MappingProxyType(specs)


@cache
def rows() -> Mapping[str, Row]:
    """The lines of the catalogue by slug, in file order."""
    with Path(__file__).with_name("catalogue.csv").open(encoding="utf-8", newline="") as lines:
        return MappingProxyType({line["slug"]: _row(line) for line in csv.DictReader(lines)})


def _row(line: Mapping[str, str]) -> Row:
    def span(cell: str) -> tuple[float, float]:
        low, _, high = cell.partition("-")
        return float(low), float(high or low)

    if line["fp32_accumulate"] not in _RATE_CLASSES:
        raise ValueError(f"catalogue row {line['slug']!r}: fp32_accumulate must be one of {', '.join(_RATE_CLASSES)}")
    low_mhz, high_mhz = span(line["clock_mhz"])
    return Row(
        slug=line["slug"],
        name=line["name"],
        aliases=tuple(filter(None, line["aliases"].split(";"))),
        compute_capability=int(line["compute_capability"].replace(".", "")),
        sm_count=int(line["sm_count"]),
        clock_mhz=(int(low_mhz), int(high_mhz)),
        bandwidth_gbs=float(line["bandwidth_gbs"]),
        l2_kib=int(line["l2_kib"]) if line["l2_kib"] else None,
        tdp_w=span(line["tdp_w"]) if line["tdp_w"] else None,
        memory_gb=float(line["memory_gb"]),
        fp32_accumulate=line["fp32_accumulate"],
        sustained_fraction=float(line["sustained_fraction"]) if line["sustained_fraction"] else None,
        fp16_tflops=float(line["fp16_tflops"]) if line["fp16_tflops"] else None,
        source=line["source"],
    )


def spec_of(row: Row) -> DeviceSpec:
    """The whole value: the row, its architecture's facts, and an estimate for each thing that no source gives.

    A clock range stands for its middle; L2 is a size per SM of the architecture; `sustained_fraction` is what the
    board's power (the middle of its range) feeds, by the watts per TFLOPS of the architecture.
    """
    facts = _core.architecture(row.compute_capability, row.fp32_accumulate == "half")
    if row.fp32_accumulate == "quarter":
        tensor = {kind: rate / 4 for kind, rate in facts["fma"].to_dict().items() if kind != "fp32"}
        facts["fma"] = facts["fma"].replace(**tensor)
    clock_mhz = sum(row.clock_mhz) // 2
    l2_kib = row.l2_kib or row.sm_count * _L2_KIB_PER_SM[row.compute_capability]
    peak_tflops = 2 * facts["fma"].fp16 * row.sm_count * clock_mhz * 1e-6
    estimates = {
        "clock_mhz": row.clock_mhz[0] != row.clock_mhz[1],
        "sustained_fraction": row.sustained_fraction is None,
        "l2_bytes": row.l2_kib is None,
    }
    return DeviceSpec(
        name=row.name,
        compute_capability=row.compute_capability,
        sm_count=row.sm_count,
        clock_mhz=clock_mhz,
        sustained_fraction=row.sustained_fraction or _sustained(row, peak_tflops),
        bandwidth_gbs=row.bandwidth_gbs,
        l2_bytes=l2_kib * 1024,
        source="catalogue",
        estimated=[name for name, guessed in estimates.items() if guessed],
        **facts,
    )


def _sustained(row: Row, peak_tflops: float) -> float:
    if row.tdp_w is None:
        return 1.0
    fed_tflops = sum(row.tdp_w) / 2 / _WATTS_PER_TFLOPS[row.compute_capability]
    return min(1.0, round(fed_tflops / peak_tflops, 2))


def completed(asked: DeviceSpec) -> DeviceSpec:
    """`asked` with what no driver tells, from the catalogued device of the same name, architecture and SMs if there is
    one: tensor-core rates (some data-centre parts are halved) and the sustained fraction, at the driver's clock."""
    known = reported(asked.name, asked.compute_capability, asked.sm_count)
    if known is None:
        return asked
    from_source = set() if "sustained_fraction" in known.estimated else {"sustained_fraction"}
    return asked.replace(
        fma=known.fma,
        sustained_fraction=min(1.0, known.sustained_fraction * known.clock_mhz / asked.clock_mhz),
        estimated=[field for field in asked.estimated if field not in from_source],
    )


@cache
def reported(name: str, compute_capability: int, sm_count: int) -> DeviceSpec | None:
    """The catalogued device that reports itself so."""
    return next(
        (
            spec
            for spec in catalogue().values()
            if (normalised(spec.name), spec.compute_capability, spec.sm_count)
            == (normalised(name), compute_capability, sm_count)
        ),
        None,
    )


def normalised(name: str) -> str:
    """Letters and digits only, in lower case, without the words that every name has; `mobile` is `laptop`."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"nvidia|geforce|generation|gpu", "", plain).replace("mobile", "laptop")


@cache
def _claims() -> Mapping[str, tuple[str, ...]]:
    """Slugs by the normalised names that mean them. A slug or an alias means one device, whatever name others report;
    a reported name, or a name with the memory size appended, means every device that has it and no better claim."""
    own: dict[str, tuple[str, ...]] = {}
    shared: dict[str, tuple[str, ...]] = {}
    for row in rows().values():
        names = {normalised(name) for name in (row.slug, *row.aliases)}
        weaker = {normalised(row.name)} | {f"{name}{row.memory_gb:g}gb" for name in names}
        slices = [slug for slug in catalogue() if slug.startswith(f"{row.slug}-mig-")]
        for slug in (row.slug, *slices):
            suffix = normalised(slug.removeprefix(row.slug))
            own |= {name + suffix: (slug,) for name in names}
            for name in weaker:
                shared[name + suffix] = (*shared.get(name + suffix, ()), slug)
    return MappingProxyType(shared | own)


def _resolve(name: str) -> str:
    """The slug that `name` means; UnknownDeviceError where that is none or several."""
    key = normalised(name)
    claims = _claims()
    meant = next((claims[family + key] for family in _FAMILIES if family + key in claims), None) or _misspelt(key)
    if len(meant) == 1:
        if normalised(meant[0]) != key:
            _log.debug("device %r taken as %s", name, meant[0])
        return meant[0]
    if meant:
        raise UnknownDeviceError(f"device {name!r} could be any of {', '.join(meant)}: give one of these names")
    raise UnknownDeviceError(f"no device in the catalogue is called {name!r}; {_nearest(key)}")


def _misspelt(key: str) -> tuple[str, ...]:
    """The devices whose name differs from `key` only in a few letters before the last digit: numbers and what follows
    them (Ti, SUPER, laptop) tell one GPU from another, so those must be right."""
    import difflib

    digits, tail = _distinguishing(key)
    if not digits:
        return ()
    close = (
        slugs
        for claim, slugs in _claims().items()
        if _distinguishing(claim) == (digits, tail)
        and difflib.SequenceMatcher(None, claim, key).ratio() >= _MISSPELT_SIMILARITY
    )
    return _unique(slug for slugs in close for slug in slugs)


def _distinguishing(key: str) -> tuple[list[str], str]:
    return re.findall(r"\d+", key), re.sub(r".*\d", "", key)


def _nearest(key: str) -> str:
    import difflib

    close = difflib.get_close_matches(key, _claims(), n=_SUGGESTIONS * 4, cutoff=0.5)
    slugs = _unique(slug for claim in close for slug in _claims()[claim])[:_SUGGESTIONS]
    return f"near: {', '.join(slugs)}" if slugs else "`gemm-tuner devices` lists the names it knows"


def _unique(slugs: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(slugs))
