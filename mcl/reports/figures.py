"""Shared parts of a report's figures: style, formats, file contents."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcl.drawing import fonts_of_the_system

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
DPI = 150
_FIXED: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_STYLE = {
    "svg.hashsalt": "mcl",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "legend.frameon": False,
    "text.parse_math": False,  # a label with dollar signs is not a formula
}


@dataclass(frozen=True)
class Picture:
    """A plot of a report; ``files`` has its bytes by format."""

    name: str
    title: str
    alt: str
    caption: str
    files: Mapping[str, bytes]


@contextmanager
def style() -> Iterator[None]:
    """Draw and save figures inside the block in the style of reports."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), fonts_of_the_system():  # type: ignore[arg-type]
        yield


def alternative_text(first: str, more: Sequence[str]) -> str:
    """Return an alternative text, without the brackets that would end it in Markdown."""
    return " ".join([first, *(f"{sentence}." for sentence in more[:4])]).replace("[", "(").replace("]", ")")


def files(figure: "Figure", formats: Sequence[str]) -> dict[str, bytes]:
    """Return the bytes of a figure by format: the same for the same figure."""
    contents = {}
    for form in dict.fromkeys(formats):
        content = io.BytesIO()
        figure.savefig(content, format=form, dpi=DPI, metadata=_FIXED[form])
        contents[form] = content.getvalue()
    return contents


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return up to ``most`` indices of ``count`` things, the first and the last among them."""
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)}) if count > most else list(range(count))
