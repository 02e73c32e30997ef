"""Differences with their intervals: every row minus its baseline, and a method minus its controls."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcl.palette import COLORS, INK, LIGHT
from mcl.reports.comparisons import Comparisons, Difference
from mcl.reports.figures import Picture, alternative_text, files
from mcl.reports.markdown import interval, listed, signed
from mcl.reports.panels import counts, dataset_name, other_key, row_key, row_styles
from mcl.reports.rows import METRICS, Rows
from mcl.reports.small_multiples import COLUMNS, LINE, MARGIN, set_title, small_multiples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panels = dict[str, dict[str, Difference]]  # title -> name of a line -> difference


def difference_plot(rows: Rows, comparisons: Comparisons, metric: str, formats: Sequence[str]) -> Picture | None:
    """Draw one mark with its interval for each difference, in panels of rows that are compared with one another."""
    panels = difference_panels(rows, comparisons)
    if not panels:
        return None
    controls = [one for group in comparisons.controls.values() for one in group]
    texts = []
    for title, panel in panels.items():
        found = [(name, one.comparison.difference) for name, one in panel.items()]
        marks = [f"{name} {signed(each.mean)} ({interval(each, difference=True)})" for name, each in found]
        texts.append(f"{title}: {listed(marks)}")
    minus = " The last lines are the method minus other rows." if comparisons.controls else ""
    return Picture(
        "differences",
        "Differences",
        alternative_text(
            f"Differences in points of test top-1 ({METRICS[metric]}) from the baseline, one line per row.", texts
        ),
        f"Each row minus its baseline, in points of test top-1 ({METRICS[metric]}), paired by seed. Bars are 95 %"
        " intervals of one comparison, without correction; a mark is filled if the difference is shown after Holm's"
        f" correction.{minus}",
        files(_figure(rows, panels, controls), formats),
    )


def difference_panels(rows: Rows, comparisons: Comparisons) -> Panels:
    """Return the differences that have a mean, by what their rows share and by the name of their line."""
    panels: Panels = {}
    controls = [one for group in comparisons.controls.values() for one in group]
    for one in [*comparisons.baseline, *controls]:
        if one.comparison.difference.mean is None:
            continue
        shared = rows.name(one.row, rows.shared)
        title = ", ".join(dict.fromkeys(filter(None, [shared, one.network])))
        name = row_key(rows, one.row)
        if one in controls:
            name = f"{name} − {other_key(rows, one.row, one.other)}"
        panels.setdefault(title, {})[name] = one
    return panels


def _figure(rows: Rows, panels: Panels, controls: Sequence[Difference]) -> "Figure":
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    names.sort(key=lambda name: any(name in panel and panel[name] in controls for panel in panels.values()))
    figure, grid = small_multiples(len(panels))
    lines = -(-len(panels) // COLUMNS)
    longest = max(map(len, names))
    figure.set_size_inches(3.0 * min(len(panels), COLUMNS) + 0.07 * longest + 0.6, lines * (LINE * len(names) + MARGIN))
    for i, (axes, (title, panel)) in enumerate(zip(grid, panels.items(), strict=True)):
        compared = [one.row for one in panel.values()]
        pairs = counts((len(one.comparison.seeds) for one in panel.values()), "pair")
        set_title(axes, title, f"{dataset_name(compared)}, n = {pairs}", len(panels))
        _draw(axes, rows, names, panel)
        axes.set_yticks(range(len(names)), names if i % COLUMNS == 0 else [""] * len(names))
    figure.supxlabel("difference, points of top-1", fontsize=9)
    return figure


def _draw(axes: "Axes", rows: Rows, names: Sequence[str], panel: dict[str, Difference]) -> None:
    styles = row_styles(rows)
    axes.axvline(0, color=INK[LIGHT], linewidth=0.8)
    for name, one in panel.items():
        found, place = one.comparison.difference, names.index(name)
        color = COLORS[LIGHT][styles[row_key(rows, one.row)].color]
        if found.interval:
            axes.hlines(place, *found.interval, colors=color, linewidth=1.4)
        face = color if one.is_finding else "white"
        axes.plot([found.mean or 0.0], [place], "o", color=color, markerfacecolor=face, markersize=5.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
