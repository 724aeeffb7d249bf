"""`devices` and `doctor`: what is here."""

from __future__ import annotations

import click

from .. import driver
from .._core import DeviceSpec
from ..devices import catalogue, completed, device
from ..errors import GemmTunerError
from .inputs import as_json, device_document, fell_short, print_json


@click.command(short_help="Local GPUs and the catalogue.")
@as_json
def devices(as_json: bool) -> None:
    """Local GPUs and the catalogue.

    \b
    Examples:
      gemm-tuner devices
      gemm-tuner devices --json
    """
    here, why_none = _devices_here()
    if as_json:
        known = {slug: device_document(spec) for slug, spec in catalogue().items()}
        print_json({"here": [device_document(spec) for spec in here], "catalogue": known})
        return
    from ..report import devices_table, print_table

    print_table(devices_table(here, catalogue()))
    if why_none:
        click.echo(f"gemm-tuner: no GPU here: {why_none}", err=True)


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
        here = [completed(driver.query(ordinal)) for ordinal in range(driver.device_count())]
        return here or [device()], ""
    except GemmTunerError as error:
        return [], str(error)
