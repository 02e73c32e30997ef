"""Plots of a report: learning curves, accuracy against cost, matching weights."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcl.reports.equal_cost import by_name, mean_training_cost
from mcl.reports.figures import Picture, alternative_text, files, new_figure, style
from mcl.reports.markdown import count, interval, listed, percent
from mcl.reports.matching_maps import matching
from mcl.reports.rows import METRICS, Row, Rows
from mcl.reports.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours for the colour-blind, without the yellow, which is invisible on white.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP*X"
DASHES = ("-", "--", ":")
COLUMNS = 3  # columns of small multiples
CHARACTERS = 11  # characters of a legend per inch

Panel = tuple[str, str, list[Row]]  # title, network, the rows in it


def pictures(rows: Rows, metric: str, formats: Sequence[str]) -> list[Picture]:
    """Return the plots that the runs have numbers for."""
    with style():
        drawn = [_curves(rows, formats), _against_cost(rows, metric, formats), matching(rows, formats)]
    return [picture for picture in drawn if picture is not None]


def _curves(rows: Rows, formats: Sequence[str]) -> Picture | None:
    """Draw test accuracy of the backbones by epoch: mean over runs, with a band from the worst to the best."""
    panels = [
        (title, network, curves)
        for title, network, group in _panels(rows, "top1_last")
        if (curves := [(row, curve) for row in group if (curve := _curve(row, network))])
    ]
    if not panels:
        return None
    from matplotlib.ticker import MaxNLocator

    styles = _styles(rows)
    figure, grid = _small_multiples(len(panels))
    ends, fewer = [], []
    for axes, (title, network, curves) in zip(grid, panels, strict=False):
        last = []
        for row, curve in curves:
            colour, dash, _ = styles[row_key(rows, row)]
            epochs, values = list(curve), list(curve.values())
            means = [sum(runs) / len(runs) for runs in values]
            axes.plot(epochs, means, color=colour, linestyle=dash, linewidth=1.5)
            low, high = list(map(min, values)), list(map(max, values))
            axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
            last.append(f"{row_key(rows, row)} ends at {percent(means[-1])}")
            if len(values[-1]) < len(row.finished):
                fewer.append(f"{rows.name(row) or network}, {len(values[-1])} of {len(row.finished)}")
        ends.append(f"{title}: {listed(last)}")
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    _label(figure, grid, "epoch", "test top-1, %")
    _legend(figure, styles, lines=True)
    caption = "Mean over finished runs; the band reaches from the worst to the best of them."
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


def _against_cost(rows: Rows, metric: str, formats: Sequence[str]) -> Picture | None:
    """Draw one mark per row with its interval, and one dot per run, by the multiply-adds of training."""
    panels = cost_panels(rows, metric)
    if not panels:
        return None
    styles = _styles(rows)
    figure, grid = _small_multiples(len(panels))
    texts = []
    for axes, (title, points) in zip(grid, panels, strict=False):
        costs = [cost for _, cost, _ in points]
        marks = []
        for (row, cost, by_seed), shift in zip(points, sideways(costs), strict=True):
            values = list(by_seed.values())
            colour, _, marker = styles[row_key(rows, row)]
            top1 = estimate(values)
            at, beside = (_moved(figure, axes, points=by) for by in (shift, shift + 5))
            axes.plot([cost] * len(values), values, ".", color=colour, alpha=0.6, markersize=5, transform=beside)
            bar = {"color": colour, "capsize": 3, "markersize": 5.5, "elinewidth": 1.1, "transform": at}
            axes.errorbar(cost, top1.mean or 0.0, top1.half_width, fmt=marker, **bar)
            accuracy = f"{percent(top1.mean)} (95 % interval {interval(top1)})"
            marks.append(f"{row_key(rows, row)} {accuracy} at {count(cost)}")
        texts.append(f"{title}: {listed(marks)}")
        axes.set_title(title)
        axes.set_ylim(*window([list(by_seed.values()) for *_, by_seed in points]))
        _cost_axis(axes, costs)
    _label(figure, grid, "multiply-adds of training", "test top-1, %")
    _legend(figure, styles, lines=False)
    return Picture(
        "cost",
        "Accuracy against cost",
        alternative_text(
            f"Test top-1 in percent ({METRICS[metric]}) against multiply-adds of training, one mark per row.", texts
        ),
        f"Accuracy is that of the {METRICS[metric]}. Marks are means over runs with the 95 % interval of the mean, dots"
        " beside them are runs. Rows of equal cost stand side by side. An interval that reaches the frame continues"
        " beyond.",
        files(figure, formats),
    )


def cost_panels(rows: Rows, metric: str) -> list[tuple[str, list[tuple[Row, float, dict[int, float]]]]]:
    """Return for each panel its title, and its rows with the multiply-adds of training and the accuracy by seed."""
    panels = [
        (
            title,
            [
                (row, cost, values)
                for row in group
                if (cost := mean_training_cost(row)) and (values := row.values(metric)[network])
            ],
        )
        for title, network, group in _panels(rows, metric)
    ]
    return [(title, points) for title, points in panels if points]


def sideways(costs: Sequence[float]) -> list[int]:
    """Return how far, in points, to move each mark sideways, so that those of nearly equal cost do not overlap."""
    near = 0.03 * max(costs)
    shifts = []
    for i, cost in enumerate(costs):
        alike = [j for j, other in enumerate(costs) if abs(other - cost) < near]
        shifts.append(round((14 if len(alike) < 4 else 10) * (alike.index(i) - (len(alike) - 1) / 2)))
    return shifts


def _moved(figure: "Figure", axes: "Axes", *, points: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)


def window(by_row: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return limits that show every run, and as much of wide intervals as keeps the runs apart."""
    values = [value for row in by_row for value in row]
    low, high = min(values), max(values)
    room = max(high - low, 0.5)
    ends = [end for row in by_row for end in estimate(row).interval or ()]
    bottom, top = max(min([low, *ends]), low - room), min(max([high, *ends]), high + room)
    return bottom - 0.08 * room, top + 0.08 * room


def _cost_axis(axes: "Axes", costs: Sequence[float]) -> None:
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


def _panels(rows: Rows, metric: str) -> list[Panel]:
    """Return a panel for each network name of each group of rows that are compared with one another."""
    panels = []
    for shared, group in rows.groups().items():
        values = [(row, row.values(metric)) for row in group]
        networks = dict.fromkeys(network for _, by_network in values for network in by_network)
        for network in networks:
            title = network if shared in ("", network) else f"{shared}: {network}" if len(networks) > 1 else shared
            panels.append((title, network, [row for row, by_network in values if network in by_network]))
    return panels


def row_key(rows: Rows, row: Row) -> str:
    """Return the name that distinguishes a row within its panel."""
    return rows.name(row, rows.compared) or rows.name(row)


def style_numbers(rows: Rows) -> dict[str, int]:
    """Return the number of the style of each row key, the same in every plot."""
    keys = dict.fromkeys(row_key(rows, row) for row in rows.rows)
    return {key: i for i, key in enumerate(keys)}


def _styles(rows: Rows) -> dict[str, tuple[str, str, str]]:
    """Return the colour, dash and marker of each row key."""
    return {
        key: (COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)], MARKERS[i % len(MARKERS)])
        for key, i in style_numbers(rows).items()
    }


def _small_multiples(panels: int) -> tuple["Figure", list["Axes"]]:
    columns = min(panels, COLUMNS)
    lines = -(-panels // columns)
    width, height = (6.4, 4.0) if panels == 1 else (3.3 * columns, 2.7 * lines + 0.5)
    figure = new_figure(width, height)
    grid = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axes in grid[panels:]:
        axes.set_axis_off()
    return figure, grid[:panels]


def _label(figure: "Figure", grid: Sequence["Axes"], x: str, y: str) -> None:
    figure.supxlabel(x, fontsize=9)
    for axes in grid[::COLUMNS]:
        axes.set_ylabel(y)


def _legend(figure: "Figure", styles: Mapping[str, tuple[str, str, str]], *, lines: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, ls=dash if lines else "", marker="" if lines else marker, label=key)
        for key, (colour, dash, marker) in styles.items()
    ]
    characters = 6 + max(map(len, styles))  # length of the longest entry, with its mark
    columns = int(figure.get_figwidth() * CHARACTERS / characters)
    figure.legend(handles=handles, loc="outside upper center", ncols=max(1, min(4, columns, len(handles))))
