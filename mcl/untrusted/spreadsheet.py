"""Text in CSV files that spreadsheets open: a cell is never a formula."""

from collections.abc import Iterable
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def without_formulas(cells: Iterable[Any]) -> list[Any]:
    """Return the cells of a line; a text that a spreadsheet would compute gets a ``'`` in front, which marks text.

    >>> without_formulas(["=1+1", "resnet8", "-0.5", -0.5])
    ["'=1+1", 'resnet8', '-0.5', -0.5]
    """
    return [f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell for cell in cells]


def _is_formula(text: str) -> bool:
    if not text.lstrip(" ").startswith(_FORMULA):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
