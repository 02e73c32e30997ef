"""Numbers, durations, paths and tables as the terminal shows them."""

import hashlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_WIDTH = 120  # columns, if standard output is not a terminal
ANNOUNCE_AFTER = 1.5  # seconds of silence


def make_console() -> "Console":
    """Return a console on standard output, without markup. Colours follow ``NO_COLOR`` and ``FORCE_COLOR``.

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


def shortened(text: str, longest: int) -> str:
    """Return a text of at most so many letters: a long one ends in a checksum, so that two remain different."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 10]}… {hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"


def print_table(console: "Console", table: "Table") -> None:
    """Print a table. On a narrow terminal its headers wrap; if that is not enough, each row becomes a block."""
    from rich.measure import Measurement
    from rich.text import Text

    unlimited = console.options.update(max_width=10_000)
    fits = Measurement.get(console, unlimited, table).maximum <= console.width
    if not fits:
        for column in table.columns[1:]:
            column.no_wrap = False  # numbers have no blank to break at, so only headers wrap
        fits = Measurement.get(console, unlimited, table).minimum <= console.width
    if fits:
        console.print(table)
        return
    labels = [str(column.header) for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        title, *cells = (cell if isinstance(cell, Text) else Text(str(cell)) for cell in row)
        console.print(title, soft_wrap=True)
        for label, cell in zip(labels[1:], cells, strict=True):
            if cell.plain:
                console.print(Text.assemble("  ", (label, "dim"), " ", cell), soft_wrap=True)


@contextmanager
def announced(work: str) -> Iterator[None]:
    """Print to standard error what is being done, if it takes more than `ANNOUNCE_AFTER` seconds."""
    timer = threading.Timer(ANNOUNCE_AFTER, lambda: print(f"{work} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def accuracy(percent: float | None, digits: int = 1) -> str:
    """Format as ``"93.1"``; a dash if it was not measured."""
    return "-" if percent is None else f"{percent:.{digits}f}"


def pluralize(number: int, thing: str) -> str:
    """Format as ``"1 epoch"``, ``"2,000 epochs"``."""
    return f"{number:,} {thing}" + "s" * (number != 1)


def in_millions(count: int) -> str:
    """Format as ``"69.13 M"``."""
    return f"{count / 1e6:,.2f} M"


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
