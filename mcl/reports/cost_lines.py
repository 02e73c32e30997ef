"""Accuracy and cost of training, for many rows: one line for each, the cheapest first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcl.drawing import new_figure
from mcl.palette import COLORS, LIGHT
from mcl.reports.cost_marks import Point, cost_axis
from mcl.reports.panels import Panel, row_key, row_styles
from mcl.reports.rows import Rows
from mcl.reports.small_multiples import LINE, MARGIN, set_title
from mcl.reports.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def line_figure(rows: Rows, panels: Sequence[tuple[Panel, list[Point]]]) -> "Figure":
    """Return a figure with two plots side by side for each panel: accuracy with its interval, and cost."""
    styles = row_styles(rows)
    heights = [LINE * len(points) + MARGIN for _, points in panels]
    longest = max(len(row_key(rows, row)) for _, points in panels for row, *_ in points)
    figure = new_figure(6.4 + 0.07 * longest, sum(heights))
    grid = figure.subplots(len(panels), 2, squeeze=False, sharey="row", height_ratios=heights, width_ratios=[3, 2])
    for (accuracy, price), (panel, points) in zip(grid, panels, strict=True):
        points = sorted(points, key=lambda point: point[1])
        set_title(accuracy, panel.title, panel.caption([row for row, *_ in points], at_end=True), panels=2)
        for place, (row, cost, by_seed) in enumerate(points):
            color, top1 = COLORS[LIGHT][styles[row_key(rows, row)].color], estimate(by_seed.values())
            if top1.interval:
                accuracy.hlines(place, *top1.interval, colors=color, linewidth=1.2)
            accuracy.plot(list(by_seed.values()), [place] * len(by_seed), "|", color=color, markersize=7, alpha=0.8)
            for axes, value in ((accuracy, top1.mean or 0.0), (price, cost)):
                axes.plot([value], [place], "o", color=color, markersize=6, markeredgecolor="white", zorder=3)
        accuracy.set_yticks(range(len(points)), [row_key(rows, row) for row, *_ in points])
        accuracy.set_ylim(len(points) - 0.5, -0.5)
        cost_axis(price, [cost for _, cost, _ in points])
        accuracy.set_xlabel("test top-1, %")
        price.set_xlabel("multiply-adds of training")
    return figure
