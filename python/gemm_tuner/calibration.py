"""What this machine's GPUs were measured to be, kept in a file each: `gemm-tuner devices --calibrate` writes them.

A calibration counts for the GPU of its uuid with as many SMs as it was measured on: a MIG slice, an MPS share or a
green context is another device.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import _core, driver
from ._core import DeviceSpec, FmaRates
from .errors import CalibrationError
from .settings import settings
from .versions import installed_version

SCHEMA = "gemm_tuner.calibration/1"
CALIBRATED = "calibrated"  # DeviceSpec.source

_log = logging.getLogger("gemm_tuner")


@dataclass(frozen=True)
class Figure:
    """The median of the runs, in the unit that the figure's name ends in, and their robust standard deviation relative
    to it."""

    value: float
    spread: float


@dataclass(frozen=True)
class Calibration:
    """spec: the device as the model is to see it. figures: what was measured, by name. versions: of gemm_tuner, the
    driver and the nvcc that compiled the probes. time: ISO 8601, UTC."""

    spec: DeviceSpec
    figures: Mapping[str, Figure]
    versions: Mapping[str, str]
    time: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "schema": SCHEMA,
            "device": {**self.spec.to_dict(), "fma": self.spec.fma.to_dict()},
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "versions": dict(self.versions),
            "time": self.time,
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Calibration:
        """The inverse of to_dict. Raises KeyError, TypeError or ValueError where it is none."""
        if values["schema"] != SCHEMA:
            raise ValueError(f"its schema is {values['schema']!r}, and {SCHEMA!r} is what this version reads")
        device = dict(values["device"])
        spec = DeviceSpec.from_dict({**device, "fma": FmaRates.from_dict(device["fma"])})
        if spec.source != CALIBRATED:
            raise ValueError(f"its device comes from {spec.source!r}")
        figures = {
            name: Figure(float(each["value"]), float(each["spread"])) for name, each in values["figures"].items()
        }
        return Calibration(spec, figures, dict(values["versions"]), str(values["time"]))


def measure(asked: DeviceSpec, ordinal: int | None = None) -> Calibration:
    """Runs our own kernels on that GPU, for about two seconds. `asked` is what is known of it; its available SMs are
    what is measured, in the current CUDA context or the primary one.

    Raises NoDeviceError, DriverError, NotBuiltError where this build has no probes or none for that GPU, and
    CalibrationError where the figures make no sense or vary too much.
    """
    from .records.record import now  # here: whoever imports this package reads calibrations, and few make them

    spec, figures = driver.calibrate(asked, ordinal)
    return Calibration(
        spec,
        {name: Figure(*figure) for name, figure in figures.items()},
        {
            "gemm_tuner": installed_version("gemm_tuner"),
            "driver": spec.driver_version,
            "nvcc": _core.build()["nvcc"],
        },
        now(),
    )


def keep(calibration: Calibration) -> Path:
    """Writes it, over an earlier one of the same device. CalibrationError where that cannot be done."""
    from .records.file import replace_file  # as above

    folder = settings().calibrations
    if folder is None:
        raise CalibrationError("GEMM_TUNER_CALIBRATIONS is off, so no calibration is kept or used: unset it")
    path = folder / _name(calibration.spec.uuid, calibration.spec.available_sms)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(calibration.to_dict(), indent=1, allow_nan=False))
    except OSError as error:
        raise CalibrationError(
            f"the calibration of {calibration.spec.name} cannot be kept in {folder}: {error.strerror}; make it"
            " writable, or name another folder in GEMM_TUNER_CALIBRATIONS"
        ) from None
    return path


def kept(uuid: str) -> Iterator[tuple[Path, Calibration]]:
    """The calibrations of the GPU of that uuid, of each number of SMs. A damaged file is warned about."""
    for path in _paths(uuid):
        try:
            yield path, Calibration.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning("ignoring the calibration %s, which is damaged or unreadable: %s", path, error)


def forget(uuid: str) -> list[Path]:
    """Deletes every calibration of the GPU of that uuid; those deleted. CalibrationError where one cannot be."""
    gone = []
    for path in _paths(uuid):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CalibrationError(f"{path} cannot be deleted: {error.strerror}") from None
        gone.append(path)
    return gone


def found(asked: DeviceSpec, ordinal: int | None = None) -> Calibration | None:
    """The calibration of that GPU with the SMs that device, MPS and context leave it, if there is one.

    SMs that torch or the caller wish to leave unused do not count: they are free to whatever else runs.
    """
    known = [calibration for _, calibration in kept(asked.uuid)]
    if not known:
        return None
    sms = driver.unreserved_sms(ordinal)
    return next((each for each in known if _is_of(each.spec, asked) and each.spec.available_sms == sms), None)


def applied(asked: DeviceSpec, ordinal: int | None = None) -> DeviceSpec:
    """`asked` with what its calibration says of it, where there is one; its available SMs stay."""
    calibration = found(asked, ordinal)
    if calibration is None:
        return asked
    spec = calibration.spec
    return asked.replace(
        clock_mhz=spec.clock_mhz,
        sustained_fraction=spec.sustained_fraction,
        bandwidth_gbs=spec.bandwidth_gbs,
        fma=spec.fma,
        estimated=[field for field in asked.estimated if field in spec.estimated],
        source=CALIBRATED,
    )


def _is_of(spec: DeviceSpec, asked: DeviceSpec) -> bool:
    return (spec.uuid, spec.name, spec.compute_capability, spec.sm_count) == (
        asked.uuid,
        asked.name,
        asked.compute_capability,
        asked.sm_count,
    )


def _name(uuid: str, sms: int | str) -> str:
    return f"{uuid}-{sms}-sms.json"


def _paths(uuid: str) -> list[Path]:
    folder = settings().calibrations
    return [] if folder is None or not uuid else sorted(folder.glob(_name(uuid, "*")))
