"""Shared parts of a report's figures: form, background, file bytes."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
}


@dataclass(frozen=True)
class Picture:
    """A picture for the page: ``files`` has its bytes by format."""

    name: str
    title: str
    alt: str
    caption: str
    files: Mapping[str, bytes]


def style() -> Any:
    """A context in which figures of a report are drawn and saved."""
    import matplotlib

    return matplotlib.rc_context(_STYLE)  # type: ignore[arg-type]


def new_figure(width: float, height: float) -> "Figure":
    """Empty, of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def alternative_text(first: str, more: Sequence[str]) -> str:
    """Alternative text, without what would end it."""
    return " ".join([first, *(f"{sentence}." for sentence in more[:4])]).replace("[", "(").replace("]", ")")


def files(figure: "Figure", formats: Sequence[str]) -> dict[str, bytes]:
    """The bytes of a figure by format: the same for the same figure."""
    found = {}
    for form in dict.fromkeys(formats):
        content = io.BytesIO()
        figure.savefig(content, format=form, dpi=DPI, metadata=_FIXED[form])
        found[form] = content.getvalue()
    return found
