"""The commands by name, each imported when it is asked for: `gemm-tuner --help` loads no table and no tuner."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "devices": ("machine", "Local GPUs and the catalogue."),
    "doctor": ("machine", "What this machine can do, why, and what to do about it."),
    "capture": ("capturing", "Which GEMMs does a model or a script run?"),
    "tune": ("tuning", "Choose a config, or the library kernel, for each problem."),
    "explain": ("explaining", "What the model predicts for one problem, term by term."),
    "records": ("keeping", "Show, merge, verify, export and compact records."),
}


class LazyGroup(click.Group):
    """A group that knows what its commands are about without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command = getattr(import_module(f"{__package__}.{module}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Their one-line descriptions, from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])
