"""Numbers and tables in Markdown, as GitHub renders it."""

import re
from collections.abc import Iterable, Sequence

from mcl.reports.statistics import Estimate

NONE = "–"  # in place of a number that there is not
_MARKS = re.compile(r"[\\`*\[\]]|(?<![^\W_])_|_(?![^\W_])")  # of Markdown; an underscore within a word is none
_UNITS = ("", " k", " M", " G", " T", " P", " E", " Z")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], words: int, closing: int = 0) -> list[str]:
    """A table and an empty line after it. The first ``words`` and the last ``closing`` columns are words, set to the
    left; those between are numbers, set to the right.
    """
    numbers = len(headers) - words - closing
    sides = [" --- "] * words + [" ---: "] * numbers + [" --- "] * closing
    lines = [f"| {' | '.join(map(cell, headers))} |", f"|{'|'.join(sides)}|"]
    lines += [f"| {' | '.join(cell(text) for text in row)} |" for row in rows]
    return [*lines, ""]


def without_empty(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """A table less the columns that have nothing in any row."""
    kept = [i for i in range(len(headers)) if any(row[i] != NONE for row in rows)]
    return [headers[i] for i in kept], [[row[i] for i in kept] for row in rows]


def cell(text: str) -> str:
    """Text from elsewhere on one line, without what Markdown would take for its own."""
    text = _MARKS.sub(r"\\\g<0>", " ".join(str(text).split()))
    return text.replace("|", "\\|").replace("<", "&lt;")


def percent(value: float | None) -> str:
    """``"72.34"``."""
    return NONE if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """``"+1.20"``, with a true minus."""
    if value is None:
        return NONE
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "−")


def with_deviation(of: Estimate) -> str:
    """``"72.34 ± 0.51"``; of one run no deviation."""
    return percent(of.mean) if of.deviation is None else f"{percent(of.mean)} ± {percent(of.deviation)}"


def interval(of: Estimate, *, difference: bool = False) -> str:
    """``"71.07 to 73.61"``."""
    if of.mean is None or of.half_width is None:
        return NONE
    show = signed if difference else percent
    return f"{show(of.mean - of.half_width)} to {show(of.mean + of.half_width)}"


def probability(p: float | None) -> str:
    """``"0.031"``, ``"< 0.001"``."""
    return NONE if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(value: float | None) -> str:
    """``"1.83 G"`` for 1,832,448,000."""
    if value is None:
        return NONE
    power = 0
    while value >= 999.5 and power < len(_UNITS) - 1:
        value /= 1000
        power += 1
    return f"{value:.3g}{_UNITS[power]}"


def seconds(value: float | None) -> str:
    """``"12.3"``, ``"1,234"``."""
    return NONE if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def listed(things: Iterable[object], last: str = "and") -> str:
    """``"0, 1 and 2"``."""
    names = [str(thing) for thing in things]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else ""


def seeds(numbers: Sequence[int | None]) -> str:
    """``"seed 3"``, ``"seeds 3 and 4"``."""
    return f"seed{'s' * (len(numbers) != 1)} {listed(numbers)}"
