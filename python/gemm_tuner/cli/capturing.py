"""`capture`: from a model or a script to a problems file."""

from __future__ import annotations

import click
from click.core import ParameterSource

from .inputs import device_option, fell_short, named_device


@click.command(
    short_help="Which GEMMs does a model or a script run?",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("-o", "--output", required=True, metavar="PROBLEMS", help="The problems file to write.")
@click.option("--model", metavar="MODULE:FACTORY", help="The factory returns (model, args) or (model, args, kwargs).")
@click.option("--backward", is_flag=True, help="Run the backward pass of the model too.")
@click.option("--inductor", is_flag=True, help="Compile the model, and write the problems that Inductor asks about.")
@device_option
@click.argument("script", nargs=-1, metavar="[-- python SCRIPT ARGS...]", type=click.UNPROCESSED)
@click.pass_context
def capture(
    ctx: click.Context,
    output: str,
    model: str | None,
    backward: bool,
    inductor: bool,
    device_name: str,
    script: tuple[str, ...],
) -> int:
    """Which GEMMs does a model or a script run?

    Runs it once, on whatever tensors it makes (meta tensors need no GPU and no memory), and writes each problem with
    how often it ran. With --inductor the model is compiled for the device instead, which need not be there, and each
    problem is written with how often Inductor lowers it.

    \b
    Examples:
      gemm-tuner capture -o problems.jsonl --model examples/llama.py:prefill
      gemm-tuner capture -o problems.jsonl --model my_package.models:training --backward
      gemm-tuner capture -o problems.jsonl --model examples/llama.py:prefill --inductor --device rtx-3060
      gemm-tuner capture -o problems.jsonl -- python serve.py --once
    """
    if (model is None) == (not script):
        raise click.UsageError("give either --model MODULE:FACTORY or, after --, a script to run")
    if backward and script:
        raise click.UsageError("--backward is for --model; a script runs its own backward pass")
    if inductor and script:
        raise click.UsageError("--inductor is for --model; what a script compiles is not captured")
    if not inductor and ctx.get_parameter_source("device_name") is not ParameterSource.DEFAULT:
        raise click.UsageError("--device is for --inductor; what a model runs does not depend on the device")
    from ..capture import capture_model, capture_script
    from ..problems import write_problems
    from ..records import require_writable

    require_writable(output)
    device = named_device(device_name) if inductor else None
    seen = capture_script(list(script)) if model is None else capture_model(model, backward=backward, device=device)
    problems = seen.problems
    if not problems:
        raise click.ClickException(f"nothing to write to {output}: {seen.failure or 'no matrix product ran'}")
    write_problems(output, problems)
    runs = sum(each.count for each in problems)
    click.echo(f"gemm-tuner: {len(problems)} problems, {runs} runs -> {output}", err=True)
    for reason, count in seen.skipped.items():
        click.echo(f"gemm-tuner: left out {count}: {reason}", err=True)
    if seen.failure:
        return fell_short(f"{seen.failure}; what ran until then was kept")
    return 0
