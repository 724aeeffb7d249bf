"""`capture`: from a model or a script to a problems file."""

from __future__ import annotations

import click

from .inputs import fell_short


@click.command(
    short_help="Which GEMMs does a model or a script run?",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("-o", "--output", required=True, metavar="PROBLEMS", help="The problems file to write.")
@click.option("--model", metavar="MODULE:FACTORY", help="The factory returns (model, args) or (model, args, kwargs).")
@click.option("--backward", is_flag=True, help="Run the backward pass of the model too.")
@click.argument("script", nargs=-1, metavar="[-- python SCRIPT ARGS...]", type=click.UNPROCESSED)
def capture(output: str, model: str | None, backward: bool, script: tuple[str, ...]) -> int:
    """Which GEMMs does a model or a script run?

    Runs it once, on whatever tensors it makes (meta tensors need no GPU and no memory), and writes each problem with
    how often it ran.

    \b
    Examples:
      gemm-tuner capture -o problems.jsonl --model examples/llama.py:prefill
      gemm-tuner capture -o problems.jsonl --model my_package.models:training --backward
      gemm-tuner capture -o problems.jsonl -- python serve.py --once
    """
    if (model is None) == (not script):
        raise click.UsageError("give either --model MODULE:FACTORY or, after --, a script to run")
    if backward and script:
        raise click.UsageError("--backward is for --model; a script runs its own backward pass")
    from ..capture import capture_model, capture_script
    from ..problems import write_problems
    from ..records import require_writable

    require_writable(output)
    seen = capture_script(list(script)) if model is None else capture_model(model, backward=backward)
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
