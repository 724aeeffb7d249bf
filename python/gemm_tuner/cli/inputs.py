"""What several commands share: their options, the device they name, and JSON as they print it."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from .._core import DeviceSpec
from ..devices import device as find_device
from ..errors import NoDeviceError

CURRENT = "current"

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else.")
device_option = click.option(
    "--device",
    "device_name",
    metavar="NAME",
    default=CURRENT,
    help="A catalogue name such as rtx-3060, or 'current' (the default): the GPU of this machine.",
)
sm_budget_option = click.option(
    "--sm-budget", type=click.IntRange(min=1), metavar="N", help="Count on no more than N SMs of the device."
)


class Seconds(click.ParamType[float]):
    """A finite number of seconds from 0 on."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fails with what was given where it is not one."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds) or seconds < 0:
            self.fail(f"{value!r} is not a number of seconds from 0 on", param, ctx)
        return seconds


def named_device(name: str, sm_budget: int | None = None) -> DeviceSpec:
    """The device that `--device` names; without a GPU, 'current' is refused with the flag that helps."""
    try:
        return find_device(None if name == CURRENT else name, sm_budget=sm_budget)
    except NoDeviceError as error:
        raise click.ClickException(
            f"{str(error).rstrip('.')}; with --device NAME, as in --device rtx-3060, no GPU is needed"
        ) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def device_document(device: DeviceSpec) -> dict[str, Any]:
    """The device in plain values."""
    return {**device.to_dict(), "fma": device.fma.to_dict()}


def print_json(document: Any) -> None:
    """The one document that goes to stdout."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def fell_short(sentence: str) -> int:
    """Says it on stderr; the exit code for it."""
    click.echo(f"gemm-tuner: {sentence}", err=True)
    return 1
