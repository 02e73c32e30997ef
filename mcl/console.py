"""Numbers, durations, paths and tables as the terminal shows them."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path

from rich.console import Console

PLAIN_WIDTH = 120  # columns, where there is no terminal to ask


def make_console() -> Console:
    """Standard output, with nothing taken for markup. Colours follow ``NO_COLOR`` and ``FORCE_COLOR``.

    A character that its encoding lacks becomes ``?`` from then on, as does a byte of a path that is not text.
    """
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    return console


def accuracy(percent: float | None, digits: int = 1) -> str:
    """``"93.1"``; a dash for what was not measured."""
    return "-" if percent is None else f"{percent:.{digits}f}"


def pluralize(number: int, thing: str) -> str:
    """``"1 epoch"``, ``"2,000 epochs"``."""
    return f"{number:,} {thing}" + "s" * (number != 1)


def format_duration(seconds: float) -> str:
    """``"0:35"``, ``"12:04"``, ``"1:02:03"``, ``"2d 03:04:05"``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def display_path(path: str | os.PathLike[str]) -> str:
    """``path`` as short as it can be typed from here."""
    path = Path(path).absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
