"""Text in CSV files that spreadsheets open: a cell is never a formula."""

from collections.abc import Iterable
from typing import Any

from mcl.untrusted.text import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def without_formulas(cells: Iterable[Any]) -> list[Any]:
    """Return the cells of a line; a text that a spreadsheet would compute gets a ``'`` in front, which marks text.

    Control characters are written out: a line break in a text could begin a cell of its own.

    >>> without_formulas(["=1+1", "resnet8", "-0.5", -0.5])
    ["'=1+1", 'resnet8', '-0.5', -0.5]
    """
    return [_inert(cell) if isinstance(cell, str) else cell for cell in cells]


def _inert(text: str) -> str:
    return f"'{printable(text)}" if _is_formula(text) else printable(text)


def _is_formula(text: str) -> bool:
    if not text.lstrip(" ").startswith(_FORMULA):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
