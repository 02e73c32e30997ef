"""Several plots in one figure: their layout, titles and legend."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from mcl.drawing import new_figure
from mcl.palette import COLORS, DASHES, LIGHT, MARKERS, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3  # of small multiples
LINE, MARGIN = 0.24, 1.1  # inches of a row that has a line of its own, and around all of them
CHARACTERS, MARK = 11, 6  # of a legend, per inch; as wide as the mark of an entry
BAND = "band: worst to best run"


def small_multiples(panels: int) -> tuple["Figure", list["Axes"]]:
    """Return a figure with a grid of axes."""
    columns = min(panels, COLUMNS)
    lines = -(-panels // columns)
    width, height = (6.4, 4.0) if panels == 1 else (3.3 * columns, 2.9 * lines + 0.5)
    figure = new_figure(width, height)
    grid = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axes in grid[panels:]:
        axes.set_axis_off()
    return figure, grid[:panels]


def set_title(axes: "Axes", title: str, caption: str, panels: int) -> None:
    """Write a title and a caption above a panel, in lines that fit its width."""
    width = 40 if panels > 1 else 75
    axes.set_title(f"{fill(title, width)}\n{fill(caption, width)}", parse_math=False)


def label_axes(figure: "Figure", grid: Sequence["Axes"], x: str, y: str) -> None:
    """Label the axes of a grid."""
    figure.supxlabel(x, fontsize=9)
    for axes in grid[::COLUMNS]:
        axes.set_ylabel(y)


def legend(figure: "Figure", styles: Mapping[str, Style], *, lines: bool) -> None:
    """Explain above a figure what the rows look like, and the bands around lines; long names take several lines."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = []
    width = int(figure.get_figwidth() * CHARACTERS)
    for key, row_style in styles.items():
        line = line_style(row_style)
        label = fill(key, width - MARK)
        handles.append(Line2D([], [], **(line if lines else {**line, "linestyle": ""}), markersize=5, label=label))
    if lines:
        handles.append(Patch(facecolor="#808080", alpha=0.3, label=BAND))
    characters = MARK + max(len(line) for handle in handles for line in str(handle.get_label()).split("\n"))
    columns = width // characters
    figure.legend(
        handles=handles, loc="outside upper center", ncols=max(1, min(5, columns, len(handles))), handlelength=3
    )


def line_style(row_style: Style) -> dict[str, Any]:
    """Return the keyword arguments of a matplotlib line."""
    return {
        "color": COLORS[LIGHT][row_style.color],
        "linestyle": DASHES[row_style.dash],
        "marker": MARKERS[row_style.marker],
    }
