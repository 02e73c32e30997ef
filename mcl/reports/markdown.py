"""Numbers and tables in Markdown, as GitHub renders it."""

import re
from collections.abc import Iterable, Sequence

from mcl.reports.statistics import Estimate
from mcl.untrusted.text import printable

NONE = "–"  # shown for a missing number
_MARKS = re.compile(r"[\\`*\[\]]|(?<![^\W_])_|_(?![^\W_])")  # Markdown's own; an underscore within a word is not
_UNITS = ("", " k", " M", " G", " T", " P", " E", " Z")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], words: int, closing: int = 0) -> list[str]:
    """Return a table and an empty line after it.

    The first ``words`` and the last ``closing`` columns are words, aligned left; those between are numbers, aligned
    right.
    """
    sides = [" --- "] * words + [" ---: "] * (len(headers) - words - closing) + [" --- "] * closing
    lines = [f"| {' | '.join(map(cell, row))} |" for row in (headers, *rows)]
    return [lines[0], f"|{'|'.join(sides)}|", *lines[1:], ""]


def without_empty(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return a table less the columns that are empty in every row."""
    kept = [i for i in range(len(headers)) if any(row[i] != NONE for row in rows)]
    return [headers[i] for i in kept], [[row[i] for i in kept] for row in rows]


def warning(text: str) -> list[str]:
    """Return an alert box and an empty line after it."""
    return ["> [!WARNING]", f"> {text}", ""]


def cell(text: str) -> str:
    """Return text from elsewhere on one line, its Markdown and HTML escaped.

    Text from run folders is escaped once, where a line is written: by `table` in its cells, by this function elsewhere.
    """
    text = _MARKS.sub(r"\\\g<0>", printable(" ".join(str(text).split())))
    return text.replace("|", "\\|").replace("<", "&lt;")


def code(text: object) -> str:
    """Return text from elsewhere, such as a path, as code on one line."""
    return f"`{printable(text).replace('`', chr(39))}`"


def percent(value: float | None) -> str:
    """Format percent: ``"72.34"``."""
    return NONE if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """Format with a sign: ``"+1.20"``, with a true minus."""
    if value is None:
        return NONE
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "−")


def with_deviation(estimate: Estimate) -> str:
    """Format mean and deviation: ``"72.34 ± 0.51"``; one run has no deviation."""
    mean = percent(estimate.mean)
    return mean if estimate.deviation is None else f"{mean} ± {percent(estimate.deviation)}"


def interval(estimate: Estimate, *, difference: bool = False) -> str:
    """Format an interval: ``"71.07 to 73.61"``."""
    show = signed if difference else percent
    return " to ".join(map(show, estimate.interval)) if estimate.interval else NONE


def probability(p: float | None) -> str:
    """Format a p-value: ``"0.031"``, ``"< 0.001"``; close to 0.05, with the digits that tell on which side it is."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.5f}" if f"{p:.3f}" == "0.050" else f"{p:.3f}"


def count(value: float | None) -> str:
    """Format a count: ``"1.83 G"`` for 1,832,448,000."""
    if value is None:
        return NONE
    power = 0
    while value >= 999.5 and power < len(_UNITS) - 1:
        value /= 1000
        power += 1
    return f"{value:.3g}{_UNITS[power]}"


def seconds(value: float | None) -> str:
    """Format seconds: ``"12.3"``, ``"1,234"``."""
    return NONE if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def listed(things: Iterable[object]) -> str:
    """Join items: ``"0, 1 and 2"``."""
    *names, last = [*map(str, things)] or [""]
    return f"{', '.join(names)} and {last}" if names else last


def seeds(numbers: Sequence[int | None]) -> str:
    """Format seeds: ``"seed 3"``, ``"seeds 3 and 4"``."""
    return f"seed{'s' * (len(numbers) != 1)} {listed(numbers)}"
