"""The command line. Exit codes: 0 done, 1 done but something fell short (said on stderr), 2 bad input."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import click

from ..errors import GemmTunerError
from .group import LazyGroup

BAD_INPUT = 2
INTERRUPTED = 130  # as shells say it: 128 + SIGINT

HELP = """GEMM autotuning for the GPUs that torch.compile's max-autotune refuses.

\b
From a model to tuning records, with or without a GPU:
  gemm-tuner capture -o problems.jsonl --model examples/llama.py:prefill
  gemm-tuner tune problems.jsonl --device rtx-3060 -o records.jsonl
  gemm-tuner records show records.jsonl

Exit codes: 0 done, 1 done but something fell short (said on stderr), 2 bad input.
"""


@click.group(cls=LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gemm_tuner")
def cli() -> None:
    """What `main` runs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code. Bad input is one sentence on stderr, never a traceback."""
    _log_to_stderr()
    try:
        code = cli.main(args=arguments, prog_name="gemm-tuner", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message().rstrip(".") + where)
    except click.ClickException as error:
        return _fail(error.format_message())
    except GemmTunerError as error:
        return _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("gemm-tuner: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader has seen enough; point stdout elsewhere, or the interpreter complains on its way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _fail(sentence: str) -> int:
    click.echo(f"gemm-tuner: {sentence}", err=True)
    return BAD_INPUT


class _ToStderr(logging.Handler):
    """Asks for sys.stderr at every line: a progress bar puts itself in its place while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"gemm-tuner: {record.levelname.lower()}: {record.getMessage()}", err=True)


def _log_to_stderr() -> None:
    log = logging.getLogger("gemm_tuner")
    if not any(isinstance(handler, _ToStderr) for handler in log.handlers):
        log.addHandler(_ToStderr())
        log.propagate = False
