"""Numbers, durations, paths and tables as the terminal shows them."""

import hashlib
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

# Of this module too: what the launcher of jobs, which does not know this project, displays.
from hydra_gpu_launcher.console import (  # noqa: F401
    PLAIN_WIDTH,
    display_path,
    format_duration,
    make_console,
    plain_table,
    pluralize,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

ANNOUNCE_AFTER = 1.5  # seconds of silence


def shortened(text: str, longest: int) -> str:
    """Return a text of at most so many letters: a long one ends in a checksum, so that two remain different."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 10]}… {hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"


def summarize(names: Sequence[object], limit: int = 5) -> str:
    """Return ``a, b, c, d, e and 3 more``."""
    text = ", ".join(str(name) for name in names[:limit])
    return f"{text} and {len(names) - limit} more" if len(names) > limit else text


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


def in_millions(count: int) -> str:
    """Format as ``"69.13 M"``."""
    return f"{count / 1e6:,.2f} M"
