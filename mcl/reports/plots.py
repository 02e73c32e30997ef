"""Plots of a report: learning curves, accuracy against cost, matching weights."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from mcl.palette import COLOURS, DASHES, LIGHT, MARKERS, Style
from mcl.reports.equal_cost import by_name
from mcl.reports.figures import Picture, alternative_text, files, new_figure, style
from mcl.reports.markdown import listed, percent
from mcl.reports.matching_maps import matching
from mcl.reports.panels import panels_of, row_key, row_styles
from mcl.reports.rows import Row, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3  # of small multiples
CHARACTERS = 11  # of a legend, per inch
MARKED = 6  # marks on a curve, about
BAND = "band: worst to best run"


def pictures(rows: Rows, metric: str, formats: Sequence[str]) -> list[Picture]:
    """Return the pictures that the runs have numbers for."""
    from mcl.reports.cost_plot import against_cost

    with style():
        drawn = [_curves(rows, formats), against_cost(rows, metric, formats), matching(rows, formats)]
    return [picture for picture in drawn if picture is not None]


def _curves(rows: Rows, formats: Sequence[str]) -> Picture | None:
    """Draw test accuracy of the backbones by epoch: mean over runs, with a band from the worst to the best."""
    panels = [
        (panel, curves)
        for panel in panels_of(rows, "top1_last")
        if (curves := [(row, curve) for row in panel.rows if (curve := _curve(row, panel.network))])
    ]
    if not panels:
        return None
    from matplotlib.ticker import MaxNLocator

    styles = row_styles(rows)
    figure, grid = small_multiples(len(panels))
    ends, fewer = [], []
    for axes, (panel, curves) in zip(grid, panels, strict=False):
        last = []
        for number, (row, curve) in enumerate(curves):
            key = row_key(rows, row)
            line = _line_style(styles[key])
            epochs, values = list(curve), list(curve.values())
            means = [sum(runs) / len(runs) for runs in values]
            every = max(1, len(epochs) // MARKED)
            axes.plot(epochs, means, **line, linewidth=1.5, markersize=4.5, markevery=(number % every, every))
            low, high = list(map(min, values)), list(map(max, values))
            axes.fill_between(epochs, low, high, color=line["color"], alpha=0.15, linewidth=0)
            last.append(f"{key} ends at {percent(means[-1])}")
            if len(values[-1]) < len(row.finished):
                fewer.append(f"{rows.name(row) or panel.network}, {len(values[-1])} of {len(row.finished)}")
        ends.append(f"{panel.title}: {listed(last)}")
        set_title(axes, panel.title, panel.caption([row for row, _ in curves], at_end=False), len(panels))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    label_axes(figure, grid, "epoch", "test top-1 of the backbone, %")
    legend(figure, styles, lines=True)
    caption = "Lines are means over finished runs; the band around a line reaches from the worst to the best of them."
    if fewer:
        caption += f" Drawn without the runs that have no complete curve: {'; '.join(dict.fromkeys(fewer))}."
    return Picture(
        "curves",
        "Learning curves",
        alternative_text("Learning curves: test top-1 of the backbone in percent by epoch, one line per row.", ends),
        caption,
        files(figure, formats),
    )


def _curve(row: Row, network: str) -> dict[int, list[float]]:
    """Return epoch -> one accuracy per run that has a curve, for the epochs that all of these evaluated."""
    by_epoch = [
        {evaluation.epoch: by_name(run, evaluation).get(network) for evaluation in run.evaluations}
        for run in row.finished
        if run.has_curve
    ]
    curves = [{epoch: top1 for epoch, top1 in run.items() if top1 is not None} for run in by_epoch]
    curves = [curve for curve in curves if curve]
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    return {epoch: [curve[epoch] for curve in curves] for epoch in shared}


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
    axes.set_title(f"{title}\n{fill(caption, 40 if panels > 1 else 75)}", parse_math=False)


def label_axes(figure: "Figure", grid: Sequence["Axes"], x: str, y: str) -> None:
    """Label the axes of a grid."""
    figure.supxlabel(x, fontsize=9)
    for axes in grid[::COLUMNS]:
        axes.set_ylabel(y)


def legend(figure: "Figure", styles: Mapping[str, Style], *, lines: bool) -> None:
    """Explain above a figure what the rows look like, and the bands around lines."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = []
    for key, row_style in styles.items():
        line = _line_style(row_style)
        handles.append(Line2D([], [], **(line if lines else {**line, "linestyle": ""}), markersize=5, label=key))
    if lines:
        handles.append(Patch(facecolor="#808080", alpha=0.3, label=BAND))
    characters = 6 + max(len(str(handle.get_label())) for handle in handles)  # of the longest entry, with its mark
    columns = int(figure.get_figwidth() * CHARACTERS / characters)
    figure.legend(
        handles=handles, loc="outside upper center", ncols=max(1, min(5, columns, len(handles))), handlelength=3
    )


def _line_style(row_style: Style) -> dict[str, Any]:
    return {
        "color": COLOURS[LIGHT][row_style.colour],
        "linestyle": DASHES[row_style.dash],
        "marker": MARKERS[row_style.marker],
    }
