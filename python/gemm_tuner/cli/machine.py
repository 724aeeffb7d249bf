"""`devices` and `doctor`: what is here."""

from __future__ import annotations

import click

from .. import calibration, driver
from .._core import DeviceSpec
from ..devices import catalogue, device, local
from ..errors import GemmTunerError
from .inputs import as_json, device_document, fell_short, print_json


@click.command(short_help="Local GPUs and the catalogue.")
@click.option("--calibrate", is_flag=True, help="Measure the local GPUs, two seconds each, and keep what they are.")
@click.option("--forget", is_flag=True, help="Delete what --calibrate kept of the local GPUs.")
@as_json
def devices(calibrate: bool, forget: bool, as_json: bool) -> int:
    """Local GPUs and the catalogue.

    Predictions for a local GPU use its calibration where it has one. Exit code 1 where a GPU could not be calibrated.

    \b
    Examples:
      gemm-tuner devices
      gemm-tuner devices --json
      gemm-tuner devices --calibrate
    """
    from . import calibrating

    if calibrate and forget:
        raise click.UsageError("--calibrate and --forget exclude each other")
    if calibrate:
        return calibrating.calibrate(as_json)
    if forget:
        return calibrating.forget(as_json)
    here, why_none = _devices_here()
    calibrations = [known for i, spec in enumerate(here) if (known := calibration.found(spec, i))]
    if as_json:
        print_json(
            {
                "here": [device_document(spec) for spec in here],
                "calibrations": [each.to_dict() for each in calibrations],
                "catalogue": {slug: device_document(spec) for slug, spec in catalogue().items()},
            }
        )
        return 0
    from ..report import devices_table, print_table

    calibrating.show(calibrations)
    print_table(devices_table(here, catalogue()))
    if why_none:
        click.echo(f"gemm-tuner: no GPU here: {why_none}", err=True)
    return 0


@click.command(short_help="What this machine can do, why, and what to do about it.")
@as_json
def doctor(as_json: bool) -> int:
    """What this machine can do, why, and what to do about it. Exit code 1 where something is wrong.

    \b
    Examples:
      gemm-tuner doctor
      gemm-tuner doctor --json
    """
    from dataclasses import asdict

    from ..doctor import examine

    findings = list(examine())
    if as_json:
        print_json([asdict(each) for each in findings])
    else:
        from ..report import doctor_table, print_table

        print_table(doctor_table(findings))
    bad = [each.subject for each in findings if each.status == "bad"]
    return fell_short(f"not well: {', '.join(bad)}") if bad else 0


def _devices_here() -> tuple[list[DeviceSpec], str]:
    """The GPUs of this machine, or none and why."""
    try:
        here = [local(ordinal) for ordinal in range(driver.device_count())]
        return here or [device()], ""
    except GemmTunerError as error:
        return [], str(error)
