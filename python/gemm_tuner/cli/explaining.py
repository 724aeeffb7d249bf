"""`explain`: what the model predicts for one problem, term by term."""

from __future__ import annotations

import click

from .._core import GemmProblem, predict_library, rank
from .inputs import as_json, device_document, device_option, named_device, print_json, sm_budget_option


@click.command(
    short_help="What the model predicts for one problem, term by term.",
    context_settings={"ignore_unknown_options": True},  # or -5 would be an unknown option and not a bad size
)
@click.argument("m", type=int)
@click.argument("n", type=int)
@click.argument("k", type=int)
@click.option(
    "--dtype",
    default="float16",
    show_default=True,
    help="float16, bfloat16, float32, int8, float8_e4m3fn or float8_e5m2.",
)
@click.option(
    "--layout", default="nn", show_default=True, help="nn, nt, tn or tt: which operands are stored transposed."
)
@click.option("--batch", type=int, default=1, show_default=True, help="Above 1 it is a batched product.")
@click.option("--tf32", is_flag=True, help="float32 products may run as TF32.")
@click.option(
    "--top-k", type=click.IntRange(min=1), default=8, show_default=True, metavar="N", help="Candidates shown."
)
@device_option
@sm_budget_option
@as_json
def explain(
    m: int,
    n: int,
    k: int,
    dtype: str,
    layout: str,
    batch: int,
    tf32: bool,
    top_k: int,
    device_name: str,
    sm_budget: int | None,
    as_json: bool,
) -> None:
    """What the model predicts for C[M, N] = A[M, K] @ B[K, N], term by term, before anything is compiled.

    \b
    Examples:
      gemm-tuner explain 512 4096 1024 --device rtx-3060
      gemm-tuner explain 16 8192 2048 --dtype bfloat16 --layout nt --device l4 --json
    """
    try:
        problem = GemmProblem(
            m=m,
            n=n,
            k=k,
            batch=batch,
            op="mm" if batch == 1 else "bmm",
            dtype=dtype,
            layout=layout,
            precision="tf32" if tf32 else "ieee",
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    device = named_device(device_name, sm_budget)
    predictions = rank(problem, device, top_k=top_k)
    library_us = predict_library(problem, device)
    if as_json:
        print_json(
            {
                "basis": "predicted",
                "problem": problem.to_dict(),
                "device": device_document(device),
                "library_us": library_us,
                "predictions": [
                    each.to_dict() | {"config": each.config.to_dict(), "resources": each.resources.to_dict()}
                    for each in predictions
                ],
            }
        )
        return
    from ..report import explain_table, print_table

    print_table(explain_table(problem, device, predictions, library_us))
