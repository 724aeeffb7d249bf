"""`tune`: from a problems file to records."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import click

from ..compile import Kernel
from ..problems import read_problems
from ..report.totals import totals_of
from ..tuning import Progress, TuneResult
from ..tuning import tune as run_tune
from .inputs import (
    CURRENT,
    Seconds,
    as_json,
    device_document,
    device_option,
    fell_short,
    named_device,
    print_json,
    sm_budget_option,
)


@click.command(short_help="Choose a config, or the library kernel, for each problem.")
@click.argument("problems", metavar="PROBLEMS")
@device_option
@sm_budget_option
@click.option(
    "-o",
    "--output",
    "records",
    metavar="RECORDS",
    default="records.jsonl",
    show_default=True,
    help="Records file to add to.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Candidates compiled per problem.",
)
@click.option(
    "--kernel",
    type=click.Choice(["inductor", "gemm_tuner"]),
    help="Candidates: the templates that torch.compile runs (the default where they are measured), or our own.",
)
@click.option("--predict", is_flag=True, help="Measure nothing, not even on the GPU of this machine.")
@click.option("--budget", type=Seconds(), metavar="S", help="Begin no further problem after S seconds.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Compile processes; all cores by default.")
@as_json
def tune(
    problems: str,
    device_name: str,
    sm_budget: int | None,
    records: str,
    top_k: int,
    kernel: Kernel | None,
    predict: bool,
    budget: float | None,
    workers: int | None,
    as_json: bool,
) -> int:
    """Choose a config, or the library kernel, for each problem of a problems file.

    Candidates are ranked by a model and compiled for the device's architecture. On the GPU of this machine the best
    are then raced against the library kernel, in a partition of as many SMs where --sm-budget is given; for any other
    device, which need not be here, every number is predicted. Records are kept problem by problem; run the same
    command again to go on after an interruption.

    \b
    Examples:
      gemm-tuner tune problems.jsonl
      gemm-tuner tune problems.jsonl --device rtx-3060
      gemm-tuner tune problems.jsonl --device l4 --budget 60 -o l4.jsonl
      gemm-tuner tune problems.jsonl --device a100-40gb-mig-1g.5gb --json
    """
    wanted = read_problems(problems)
    device = named_device(device_name, sm_budget)
    measured = device_name == CURRENT and not predict
    with _shown_progress() as on_progress:
        try:
            result = run_tune(
                wanted,
                device,
                measured=measured,
                kernel=kernel,
                top_k=top_k,
                budget_s=budget,
                records=records,
                workers=workers,
                on_progress=on_progress,
            )
        except KeyboardInterrupt:
            click.echo(f"gemm-tuner: what was tuned is in {records}; run the same command again to go on", err=True)
            raise
    if as_json:
        print_json(tuned_document(result))
    else:
        from ..report import print_table, tuned_table

        print_table(tuned_table(result))
        click.echo(f"gemm-tuner: records in {records}, {result.seconds:.1f} s", err=True)
    if result.unfinished:
        left, total = len(result.unfinished), len(result.unfinished) + len(result.outcomes)
        return fell_short(
            f"the budget of {budget:g} s is spent; {left} of {total} problems are left: run it again to go on"
        )
    return 0


def tuned_document(result: TuneResult) -> dict[str, Any]:
    """What `tune --json` prints."""
    return {
        "basis": result.basis,
        "device": device_document(result.device),
        "versions": asdict(result.versions),
        "records": None if result.records is None else str(result.records),
        "seconds": result.seconds,
        "totals": asdict(totals_of(result.outcomes)),
        "problems": [
            {
                **each.winner.to_dict(),
                "library_us": each.library_us,
                "waves": each.waves,
                "resumed": each.resumed,
                "best": None if each.best is None else each.best.to_dict(),
            }
            for each in result.outcomes
        ],
        "unfinished": [{**each.problem.to_dict(), "count": each.count} for each in result.unfinished],
    }


@contextlib.contextmanager
def _shown_progress() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, plain lines elsewhere; on stderr either way."""
    if not sys.stderr.isatty():
        yield _print_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda progress: bar.update(
            task, completed=progress.done, total=progress.total, description=_latest(progress)
        )


def _print_line(progress: Progress) -> None:
    click.echo(f"gemm-tuner: {progress.done} of {progress.total} tuned {_latest(progress)}".rstrip(), err=True)


def _latest(progress: Progress) -> str:
    return "" if progress.latest is None else str(progress.latest.winner.problem)
