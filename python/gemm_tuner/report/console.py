"""Where tables go: to standard output, as wide as a terminal is, or as wide as they need to be where it is none."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

FILE_COLUMNS = 200  # a file or pipe has no width; nothing we print is wider


def print_table(table: Table) -> None:
    """Prints it to standard output; whole columns, never cut short, where that is not a terminal."""
    is_terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if is_terminal else FILE_COLUMNS, highlight=False)
    console.print(table)
