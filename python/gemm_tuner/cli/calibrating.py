"""`devices --calibrate` and `devices --forget`: the GPUs of this machine as they were measured."""

from __future__ import annotations

import click

from .. import calibration, driver
from ..devices import completed
from ..errors import GemmTunerError
from .inputs import fell_short, print_json


def calibrate(as_json: bool) -> int:
    """Calibrates every GPU that the driver shows; the exit code. Raises NoDeviceError where there is none."""
    kept, refused = [], {}
    for ordinal in _ordinals():
        click.echo(f"gemm-tuner: calibrating GPU {ordinal}, which takes about two seconds", err=True)
        try:
            measured = calibration.measure(completed(driver.query(ordinal)), ordinal)
            kept.append((calibration.keep(measured), measured))
        except (GemmTunerError, ValueError) as error:
            refused[f"GPU {ordinal}"] = str(error)
    if as_json:
        calibrated = [{**measured.to_dict(), "path": str(path)} for path, measured in kept]
        print_json({"calibrated": calibrated, "refused": refused})
    else:
        show([measured for _, measured in kept])
        for path, _ in kept:
            click.echo(f"gemm-tuner: kept in {path}", err=True)
    return max((fell_short(f"{gpu}: {why}") for gpu, why in refused.items()), default=0)


def forget(as_json: bool) -> int:
    """Deletes the calibrations of every GPU that the driver shows. Raises NoDeviceError where there is none."""
    gone = [path for ordinal in _ordinals() for path in calibration.forget(driver.query(ordinal).uuid)]
    if as_json:
        print_json({"forgotten": [str(path) for path in gone]})
    for path in gone:
        click.echo(f"gemm-tuner: deleted {path}", err=True)
    if not gone:
        click.echo("gemm-tuner: no GPU here has a calibration", err=True)
    return 0


def show(calibrations: list[calibration.Calibration]) -> None:
    """Prints the figures of each."""
    from ..report import calibration_table, print_table

    for each in calibrations:
        print_table(calibration_table(each))


def _ordinals() -> range:
    driver.query(0)  # says why there is no GPU, where there is none
    return range(driver.device_count())
