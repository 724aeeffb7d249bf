"""`records`: show, merge, verify, export and compact records files."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from importlib import metadata

import click

from .. import records as rec
from .._core import DeviceSpec
from ..devices import catalogue
from ..devices import device as find_device
from ..errors import GemmTunerError
from ..tuning import current_kernels
from .inputs import as_json, fell_short, print_json


@click.group(short_help="Show, merge, verify, export and compact records.")
def records() -> None:
    """Records files: JSON Lines, one record each. `cat a b > c` is a valid merge.

    \b
    Examples:
      gemm-tuner records show records.jsonl
      gemm-tuner records merge mine.jsonl theirs.jsonl -o both.jsonl
      gemm-tuner records export records.jsonl --to serving -o configs/
    """


@records.command()
@click.argument("path", metavar="RECORDS")
@click.option("--trials", is_flag=True, help="Show the trials too, not the winners alone.")
@as_json
def show(path: str, trials: bool, as_json: bool) -> int:
    """What is on record. Exit code 1 where lines were skipped."""
    contents = _read(path)
    lines = [line for line in contents.lines if trials or line.record.kind == "winner"]
    if as_json:
        print_json([line.record.to_dict() for line in lines])
    else:
        from ..report import print_table, records_table

        print_table(records_table(lines))
    return _told_skipped(contents.skipped)


@records.command()
@click.argument("paths", metavar="RECORDS...", nargs=-1, required=True)
@click.option("-o", "--output", required=True, metavar="RECORDS", help="Where to; may be one of the sources.")
def merge(paths: tuple[str, ...], output: str) -> int:
    """Every distinct line of some files, in one. Exit code 1 where lines were skipped."""
    rec.require_writable(output)
    tally = rec.merge(paths, output)
    click.echo(f"gemm-tuner: {tally.kept} lines -> {output}, {tally.dropped} of them twice", err=True)
    return _told_skipped(tally.skipped)


@records.command()
@click.argument("path", metavar="RECORDS")
@click.option("-o", "--output", metavar="RECORDS", help="Where to; in place without it.")
def compact(path: str, output: str | None) -> int:
    """Keep the best line for each thing known. Exit code 1 where lines were skipped."""
    target = output or path
    rec.require_writable(target)
    tally = rec.compact(path, target, kernels=current_kernels(_read(path).records))
    click.echo(
        f"gemm-tuner: {tally.kept} lines -> {target}, {tally.dropped} superseded or stale ones dropped", err=True
    )
    return _told_skipped(tally.skipped)


@records.command()
@click.argument("path", metavar="RECORDS")
@as_json
def verify(path: str, as_json: bool) -> int:
    """Is every line whole, legal on its device, and of a kernel that is installed? Exit code 1 where one is not."""
    contents = _read(path)
    verdicts = rec.verify(
        contents,
        kernels=current_kernels(contents.records),
        find_device=_device_of,
        gemm_tuner_version=metadata.version("gemm_tuner"),
    )
    faulty = [verdict for verdict in verdicts if verdict.faults]
    if as_json:
        print_json(
            {
                "lines": len(verdicts),
                "faulty": len(faulty),
                "verdicts": [
                    {"line": each.number, "faults": each.faults, "notes": each.notes}
                    for each in verdicts
                    if each.faults or each.notes
                ],
            }
        )
    else:
        for each in verdicts:
            for sentence in each.faults:
                click.echo(f"line {each.number}: {sentence}")
        for sentence, count in Counter(note for each in verdicts for note in each.notes).items():
            click.echo(f"note, {count} lines: {sentence}")
        click.echo(f"{len(verdicts) - len(faulty)} of {len(verdicts)} lines are good")
    return fell_short(f"{len(faulty)} of {len(verdicts)} lines of {path} fell short") if faulty else 0


@records.command()
@click.argument("path", metavar="RECORDS")
@click.option(
    "--to", "form", type=click.Choice(["serving", "inductor"]), required=True, help="The form; see docs/records.md."
)
@click.option("-o", "--output", required=True, metavar="PATH", help="A folder for serving, a JSON file for inductor.")
def export(path: str, form: str, output: str) -> int:
    """Winners in the forms that others read. Exit code 1 where a winner could not be said.

    \b
    serving:  the JSON per device, weight shape and dtype that serving engines commit
    inductor: the table of torch._inductor.lookup_table
    """
    contents = _read(path)
    left: tuple[rec.Left, ...]
    if form == "serving":
        serving = rec.to_serving(contents.records)
        written, left = rec.write_serving(serving, output), serving.left
        click.echo(f"gemm-tuner: {len(written)} files -> {output}", err=True)
    else:
        rec.require_writable(output)
        lookup = rec.to_lookup_table(contents.records)
        rec.write_atomically(output, json.dumps(lookup.table, indent=2) + "\n")
        left = lookup.left
        click.echo(f"gemm-tuner: {len(lookup.table)} entries -> {output}", err=True)
    for reason, count in Counter(each.reason for each in left).items():
        click.echo(f"gemm-tuner: left out {count}: {reason}", err=True)
    if left:
        return fell_short(f"{len(left)} winners have no place in this form")
    return _told_skipped(contents.skipped)


def _read(path: str) -> rec.Contents:
    contents = rec.read(path)
    if not contents.lines:
        raise click.ClickException(f"{path} holds no record")
    return contents


def _told_skipped(skipped: tuple[rec.Skipped, ...]) -> int:
    return fell_short(f"{len(skipped)} lines were skipped, as told above") if skipped else 0


def _device_of(fingerprint: rec.Fingerprint) -> DeviceSpec | None:
    """The device that the record speaks of, from the catalogue or this machine, with the SMs that it counted on."""
    named = [device for device in catalogue().values() if device.name == fingerprint.name]
    with contextlib.suppress(GemmTunerError):
        named += [device for device in (find_device(),) if device.name == fingerprint.name]
    named.sort(key=lambda device: device.sm_count != fingerprint.sm_count)  # some products share a name
    return named[0].with_available_sms(fingerprint.available_sms) if named else None
