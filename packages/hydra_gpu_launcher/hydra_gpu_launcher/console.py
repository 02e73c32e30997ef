"""A console, a plain table, and how numbers, durations and paths read."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_WIDTH = 120  # columns, if standard output is not a terminal


def make_console() -> "Console":
    """Return a console on standard output, without markup. Colors follow ``NO_COLOR`` and ``FORCE_COLOR``.

    From then on, a character that the encoding of standard output lacks is printed as ``?``.
    """
    from rich.console import Console  # on first use, for a quick start

    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    return console


def plain_table(*labels: str, numbers: Sequence[str] = ()) -> "Table":
    """Return an empty table without lines: columns of labels, then columns of numbers, set to the right."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    for header in labels:
        table.add_column(header, no_wrap=True)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def pluralize(number: int, thing: str) -> str:
    """Format as ``"1 epoch"``, ``"2,000 epochs"``."""
    return f"{number:,} {thing}" + "s" * (number != 1)


def format_duration(seconds: float) -> str:
    """Format as ``"0:35"``, ``"12:04"``, ``"1:02:03"``, ``"2d 03:04:05"``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def display_path(path: str | os.PathLike[str]) -> str:
    """Return the shortest form of ``path`` that works in the working directory."""
    path = Path(path).absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
