"""One record: what was chosen (or tried) for one problem on one device, and how that is known."""

from __future__ import annotations

import datetime
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from .._core import Clocks, DeviceSpec, GemmConfig, GemmProblem, KernelResources, LibraryAlgorithm
from ..cublaslt import Candidate, is_library_kernel
from ..errors import RecordsError

SCHEMA = "gemm_tuner.record/1"
ATEN = "aten"  # the family that stands for the library kernel, in the place of a config's
CUBLASLT = "cublaslt"  # the family that stands for an algorithm of the library's

Basis = Literal["measured", "predicted"]
Kind = Literal["trial", "winner"]


@dataclass(frozen=True)
class Fingerprint:
    """What of a device makes a record valid: another SM budget is another device."""

    name: str
    compute_capability: int
    sm_count: int
    available_sms: int

    @classmethod
    def of(cls, device: DeviceSpec) -> Fingerprint:
        """What a record of that device names it by."""
        return cls(device.name, device.compute_capability, device.sm_count, device.available_sms)

    def __str__(self) -> str:
        sms = f"{self.sm_count} SMs"
        if self.available_sms != self.sm_count:
            sms = f"{self.available_sms} of {sms}"
        return f"{self.name} (sm_{self.compute_capability}, {sms})"


@dataclass(frozen=True)
class Versions:
    """What made the record. Empty where it had no part in it: a prediction asks no driver."""

    gemm_tuner: str
    torch: str = ""
    triton: str = ""
    driver: str = ""


def now() -> str:
    """The present second as records write it: ISO 8601, UTC."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def aten_kernel(problem: GemmProblem) -> str:
    """The name of the library kernel: it carries no source hash, the torch version stands for it."""
    return f"aten::{problem.op}"


@dataclass(frozen=True)
class Record:
    """One line of a records file.

    `choice` is None for the library kernel (ATen), and one of the library's algorithms where that was timed by itself:
    its `kernel` names the version that it belongs to. `latency_us` is None only for a trial that gave no time, and
    `reason` then says why. `spread` is relative to `latency_us` and is None where nothing was measured. `resources`
    are the compiler's own, where the candidate was compiled. `count` is how often the model runs the problem. `clocks`
    is what the GPU did when the choice was last timed, where it tells.

    Known only where Inductor compiled the graph: `fused`, whether what follows was fused into the chosen kernel (None
    where nobody looked); `followed_by`, the ATen ops that use the product, sorted ("gelu"); `padded_from`, the m, n, k
    that Inductor padded to the problem's.

    Raises RecordsError where the fields contradict each other.
    """

    device: Fingerprint
    problem: GemmProblem
    choice: Candidate | None
    kernel: str
    latency_us: float | None
    basis: Basis
    kind: Kind
    versions: Versions
    spread: float | None = None
    reason: str = ""
    resources: KernelResources | None = None
    count: int = 1
    clocks: Clocks | None = None
    fused: bool | None = None
    followed_by: tuple[str, ...] = ()
    padded_from: tuple[int, int, int] | None = None
    time: str = ""

    def __post_init__(self) -> None:
        if not self.time:
            object.__setattr__(self, "time", now())
        fault = _fault(self)
        if fault:
            raise RecordsError(f"this is no record: {fault}")

    @property
    def when(self) -> datetime.datetime:
        """`time`, parsed."""
        return datetime.datetime.fromisoformat(self.time)

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the order of the file format; those that few records have only where they have them."""
        followed_by, padded_from = list(self.followed_by), self.padded_from and list(self.padded_from)
        clocks = None if self.clocks is None else self.clocks.to_dict()
        learned = {
            "clocks": clocks,
            "fused": self.fused,
            "followed_by": followed_by or None,
            "padded_from": padded_from,
        }
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "basis": self.basis,
            "device": asdict(self.device),
            "problem": self.problem.to_dict(),
            "count": self.count,
            "choice": _choice_to_dict(self.choice),
            "kernel": self.kernel,
            "latency_us": self.latency_us,
            "spread": self.spread,
            "reason": self.reason,
            "resources": None if self.resources is None else self.resources.to_dict(),
            **{name: value for name, value in learned.items() if value is not None},
            "versions": asdict(self.versions),
            "time": self.time,
        }

    def to_json(self) -> str:
        """One line, without its end."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record on that line; RecordsError says what is wrong with it. Unknown fields are ignored."""
        try:
            values = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise RecordsError(f"not a line of JSON ({error})") from None
        if not isinstance(values, dict):
            raise RecordsError(f"not a JSON object but {type(values).__name__}")
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Record:
        """The inverse of `to_dict`; RecordsError says what is missing or wrong."""
        if values.get("schema") != SCHEMA:
            raise RecordsError(f"its schema is {values.get('schema')!r}, this version reads {SCHEMA!r}")
        try:
            choice, resources, clocks = values["choice"], values.get("resources"), values.get("clocks")
            return cls(
                device=_from_fields(Fingerprint, values["device"]),
                problem=GemmProblem.from_dict(values["problem"]),
                choice=_choice_from_dict(choice),
                kernel=values["kernel"],
                latency_us=values["latency_us"],
                basis=values["basis"],
                kind=values["kind"],
                versions=_from_fields(Versions, values["versions"]),
                spread=values.get("spread"),
                reason=values.get("reason", ""),
                resources=None if resources is None else KernelResources.from_dict(resources),
                count=values.get("count", 1),
                clocks=None if clocks is None else Clocks.from_dict(clocks),
                fused=values.get("fused"),
                followed_by=_tuple(values.get("followed_by", [])),
                padded_from=None if values.get("padded_from") is None else _tuple(values["padded_from"]),
                time=values["time"],
            )
        except KeyError as error:
            raise RecordsError(f"it has no field {error}") from None
        except (
            TypeError,
            ValueError,
            AttributeError,
            RuntimeError,
        ) as error:  # RuntimeError: text without a UTF-8 form
            raise RecordsError(f"it has a field that cannot be ({str(error).splitlines()[0]})") from None


def _choice_to_dict(choice: Candidate | None) -> dict[str, Any]:
    if choice is None:
        return {"family": ATEN}
    return {"family": CUBLASLT, **choice.to_dict()} if isinstance(choice, LibraryAlgorithm) else choice.to_dict()


def _choice_from_dict(values: dict[str, Any]) -> Candidate | None:
    family = values.get("family")
    if family == ATEN:
        return None
    if family == CUBLASLT:
        return LibraryAlgorithm.from_dict({name: value for name, value in values.items() if name != "family"})
    return GemmConfig.from_dict(values)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _from_fields(cls: Any, values: dict[str, Any]) -> Any:
    """The dataclass from those of `values` that it knows, each of the type it names (str or int)."""
    known = {}
    for field in fields(cls):
        if field.name not in values:
            continue
        value, wanted = values[field.name], {"str": str, "int": int}[str(field.type)]
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"{field.name} must be {wanted.__name__}, got {value!r}")
        known[field.name] = value
    return cls(**known)


def _tuple(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"a list was expected, got {value!r}")
    return tuple(value)


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _fault(record: Record) -> str | None:
    """What in it cannot be, or None."""
    for name in ("kernel", "reason", "time"):
        if not isinstance(getattr(record, name), str):
            return f"{name} must be text, got {getattr(record, name)!r}"
    if record.basis not in ("measured", "predicted"):
        return f"basis must be measured or predicted, got {record.basis!r}"
    if record.kind not in ("trial", "winner"):
        return f"kind must be trial or winner, got {record.kind!r}"
    is_library = isinstance(record.choice, LibraryAlgorithm), is_library_kernel(record.kernel)
    is_aten = record.choice is None, record.kernel.startswith("aten::")
    if "::" not in record.kernel or is_aten[0] != is_aten[1] or is_library[0] != is_library[1]:
        return f"kernel {record.kernel!r} does not go with choice {record.choice}"
    if record.latency_us is None and (record.kind == "winner" or not record.reason):
        return "only a trial that says its reason may have no latency_us"
    if record.latency_us is not None and not _positive(record.latency_us):
        return f"latency_us must be a positive number, got {record.latency_us!r}"
    if record.spread is not None and (
        record.basis == "predicted" or not (record.spread == 0 or _positive(record.spread))
    ):
        return f"spread must be a number from 0 on, and is for measurements only, got {record.spread!r}"
    if not _whole(record.count):
        return f"count must be a whole number from 1 on, got {record.count!r}"
    try:
        offset = datetime.datetime.fromisoformat(record.time).utcoffset()
    except ValueError:
        return f"time must be ISO 8601, got {record.time!r}"
    if offset != datetime.timedelta(0):
        return f"time must be in UTC (+00:00), got {record.time!r}"
    return _fault_of_what_inductor_did(record)


def _fault_of_what_inductor_did(record: Record) -> str | None:
    if not (record.fused is None or isinstance(record.fused, bool)):
        return f"fused must be true, false or left out, got {record.fused!r}"
    names = record.followed_by
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names) or list(names) != sorted(names):
        return f"followed_by must be names in alphabetical order, got {names!r}"
    small, own = record.padded_from, (record.problem.m, record.problem.n, record.problem.k)
    if small is None:
        return None
    if not isinstance(small, tuple) or len(small) != 3 or not all(map(_whole, small)):
        return f"padded_from must be the three sizes m, n and k, got {small!r}"
    padded = small != own and all(one <= other for one, other in zip(small, own, strict=True))
    return None if padded else f"padded_from must be smaller than the problem's sizes {own}, got {small!r}"
