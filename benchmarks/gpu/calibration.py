"""What our probes find on this GPU and on a part of it, twice over, beside what its driver and the catalogue say.

    python benchmarks/gpu/calibration.py --out results [--sms 0,32]

0 is the whole GPU; a part is a CUDA green context of so many SMs, which takes torch, cuda-bindings and a driver of
12.4. What is found is not kept for predictions to use; into the folder goes calibration.json. Exit codes: 0 done, 1 the
whole GPU was refused, 2 no GPU or no probes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemm_tuner import DeviceSpec, ModelConstants, calibration, driver
from gemm_tuner.devices import completed, reported
from gemm_tuner.errors import GemmTunerError, NoDeviceError, NotBuiltError

BESIDE = ("clock_mhz", "sustained_fraction", "bandwidth_gbs")


def plain(spec: DeviceSpec) -> dict[str, Any]:
    """The device in plain values."""
    return {**spec.to_dict(), "fma": spec.fma.to_dict()}


def twice() -> dict[str, Any]:
    """Two calibrations of the current context's SMs one after the other, or why there are none."""
    asked = completed(driver.query())
    try:
        first, second = calibration.measure(asked), calibration.measure(asked)
    except (NoDeviceError, NotBuiltError):
        raise
    except GemmTunerError as error:
        return {"available_sms": asked.available_sms, "refused": str(error)}
    pairs = {name: (figure.value, second.figures[name].value) for name, figure in first.figures.items()}
    return {
        "available_sms": asked.available_sms,
        "calibration": first.to_dict(),
        "second_over_first": {name: round(after / before, 4) for name, (before, after) in pairs.items()},
        "over_described": {name: round(getattr(first.spec, name) / getattr(asked, name), 4) for name in BESIDE},
    }


def in_part(sms: int) -> dict[str, Any]:
    """The same in a green context of so many SMs, or why there is none."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this sees its own folder only
    from gpu.partition import PartitionError, partition

    try:
        with partition(sms).entered():
            return twice()
    except (PartitionError, RuntimeError, AssertionError) as error:  # the last: torch without CUDA
        return {"available_sms": sms, "refused": str(error)}


def beside(here: DeviceSpec, found: dict[str, Any]) -> str:
    """Lines for a person: each figure, and what was described."""
    if "refused" in found:
        return f"{found['available_sms']} SMs: refused: {found['refused']}"
    lines = [f"{here.name}, {found['available_sms']} SMs, measured {found['calibration']['time']}"]
    for name, figure in found["calibration"]["figures"].items():
        again = found["second_over_first"][name]
        lines.append(
            f"{name:28} {figure['value']:10.4g}  spread {figure['spread']:6.2%}  second over first {again:.3f}"
        )
    lines += [f"{name:28} {ratio:10.3f}  over what was described" for name, ratio in found["over_described"].items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sms", default="0,32", help="parts of the GPU, 0 for the whole of it")
    given = parser.parse_args(arguments)
    try:
        here = completed(driver.query())
        parts = [int(each) for each in given.sms.split(",")]
        found = [twice() if sms == 0 else in_part(sms) for sms in parts]
    except (GemmTunerError, ValueError) as error:
        print(f"calibration.py: {error}", file=sys.stderr)
        return 2
    known = reported(here.name, here.compute_capability, here.sm_count)
    document = {
        "basis": "measured",
        "described": plain(here),
        "catalogue": None if known is None else plain(known),
        "model_constants": ModelConstants().to_dict(),
        "parts": found,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "calibration.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    for each in found:
        print(beside(here, each))
    return 1 if any(sms == 0 and "refused" in each for sms, each in zip(parts, found, strict=True)) else 0


if __name__ == "__main__":
    sys.exit(main())
