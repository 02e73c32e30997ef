"""Accuracy against the cost of training, for a few rows: every mark stands at its true cost, beside its name."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from mcl.palette import COLORS, LIGHT, MARKERS
from mcl.reports.markdown import count
from mcl.reports.panels import Panel, row_key, row_styles
from mcl.reports.rows import Row, Rows
from mcl.reports.small_multiples import label_axes, legend, set_title, small_multiples
from mcl.reports.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[Row, float, dict[int, float]]  # a row, its multiply-adds of training, its accuracy by seed
LINE, LINES = 16, 2  # letters and lines of a name beside its mark; the legend has all of it
WIDEST, STEP = 6.0, 2.0  # of intervals at one cost, in points: each is narrower than the one behind it


def cost_figure(rows: Rows, panels: Sequence[tuple[Panel, list[Point]]]) -> "Figure":
    """Return a figure of panels with a mark for each row; names stand beside marks that would cover each other."""
    styles = row_styles(rows)
    shown = {row_key(rows, row): styles[row_key(rows, row)] for _, points in panels for row, *_ in points}
    figure, grid = small_multiples(len(panels))
    for axes, (panel, points) in zip(grid, panels, strict=False):
        costs = [cost for _, cost, _ in points]
        drawn = [row for row, *_ in points]
        set_title(axes, panel.title, panel.caption(drawn, at_end=True), len(panels))
        axes.set_ylim(*window([list(by_seed.values()) for *_, by_seed in points]))
        cost_axis(axes, costs)
        for (row, cost, by_seed), (place, crowd) in zip(points, crowded(costs), strict=True):
            key = row_key(rows, row)
            color, marker = COLORS[LIGHT][styles[key].color], MARKERS[styles[key].marker]
            top1 = estimate(by_seed.values())
            mean = top1.mean or 0.0
            width = max(1.2, WIDEST - STEP * place) if crowd > 1 else 1.2
            if top1.interval:
                axes.vlines(cost, *top1.interval, colors=color, linewidth=width, alpha=0.35 if width > 1.2 else 1.0)
            axes.plot([cost] * len(by_seed), list(by_seed.values()), "_", color=color, markersize=9, alpha=0.8)
            axes.plot([cost], [mean], marker, color=color, markersize=6, markeredgecolor="white", zorder=3)
            if crowd > 1:
                _name_mark(axes, key, cost, mean, color, place)
    label_axes(figure, grid, "multiply-adds of training", "test top-1, %")
    legend(figure, shown, lines=False)
    return figure


def crowded(costs: Sequence[float]) -> list[tuple[int, int]]:
    """Return for each cost its place among nearly equal ones, from 0, and how many these are."""
    near = 0.03 * max(costs)
    groups = [[j for j, other in enumerate(costs) if abs(other - cost) < near] for cost in costs]
    return [(group.index(i), len(group)) for i, group in enumerate(groups)]


def _name_mark(axes: "Axes", name: str, cost: float, mean: float, color: str, place: int) -> None:
    """Write a name beside its mark, to the right and to the left in turn, with a line that leads to it."""
    side = 1 if place % 2 else -1
    axes.annotate(
        fill(name, LINE, max_lines=LINES, placeholder="…", break_on_hyphens=False),
        (cost, mean),
        xytext=(side * 22, (place // 2) * 14 + side * 6),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="center",
        fontsize=7.5,
        color=color,
        arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4},
        parse_math=False,
    )


def window(by_row: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return limits that show every run, and as much of wide intervals as keeps the runs apart."""
    values = [value for row in by_row for value in row]
    low, high = min(values), max(values)
    room = max(high - low, 0.5)
    ends = [end for row in by_row for end in estimate(row).interval or ()]
    bottom, top = max(min([low, *ends]), low - room), min(max([high, *ends]), high + room)
    return bottom - 0.08 * room, top + 0.08 * room


def cost_axis(axes: "Axes", costs: Sequence[float]) -> None:
    """Scale the x axis to costs, by their logarithm where they are far apart."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if max(costs) > 6 * min(costs):
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.5, max(costs) * 1.5)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, max(costs) * 1.1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value).replace(" ", "\u202f")))
