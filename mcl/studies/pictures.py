"""Pictures of a report: learning curves, accuracy against cost, matching weights. On white, without a display."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcl.studies.cost import by_name, training_cost
from mcl.studies.rows import METRICS, Row, Rows
from mcl.studies.statistics import Estimate, estimate
from mcl.studies.tables import count, interval, listed, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
DPI = 150
# Okabe and Ito's colours, which the colour-blind tell apart, without the yellow that white swallows.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP*X"
DASHES = ("-", "--", ":")
COLUMNS = 3  # of small multiples
MOMENTS = 5  # of training, at which matching weights are shown
NEUTRAL = 0.5  # matching weight of two layers whose embeddings are orthogonal
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

Panel = tuple[str, str, list[Row]]  # title, network, the rows in it


@dataclass(frozen=True)
class Picture:
    """A picture for the page: ``files`` has its bytes by format."""

    name: str
    title: str
    alt: str
    caption: str
    files: Mapping[str, bytes]


def pictures(rows: Rows, metric: str, formats: Sequence[str]) -> list[Picture]:
    """Those that the runs have numbers for."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        drawn = [_curves(rows, formats), _against_cost(rows, metric, formats), _matching(rows, formats)]
    return [picture for picture in drawn if picture is not None]


# ---------------------------------------------------------------------------------------------- learning curves


def _curves(rows: Rows, formats: Sequence[str]) -> Picture | None:
    """Test accuracy of the backbones by epoch: mean over runs, with a band from the worst to the best."""
    panels = [
        (title, network, curves)
        for title, network, group in _panels(rows, "top1_last")
        if (curves := [(row, curve) for row in group if (curve := _curve(row, network))])
    ]
    if not panels:
        return None
    from matplotlib.ticker import MaxNLocator

    style = _styles(rows)
    figure, grid = _small_multiples(len(panels))
    for axes, (title, _, curves) in zip(grid, panels, strict=False):
        for row, curve in curves:
            colour, dash, _ = style[_key(rows, row)]
            epochs = list(curve)
            axes.plot(epochs, [sum(of) / len(of) for of in curve.values()], color=colour, linestyle=dash, linewidth=1.5)
            low, high = [min(of) for of in curve.values()], [max(of) for of in curve.values()]
            axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    _label(figure, grid, "epoch", "test top-1, %")
    _legend(figure, rows, style, lines=True)
    ends = [
        f"{title}: {listed(f'{_key(rows, row)} ends at {percent(_last(curve))}' for row, curve in curves)}"
        for title, _, curves in panels
    ]
    return Picture(
        "curves",
        "Learning curves",
        _alt("Learning curves: test top-1 of the backbone in percent by epoch, one line per row.", ends),
        "Mean over finished runs; the band reaches from the worst to the best of them.",
        _files(figure, formats),
    )


def _curve(row: Row, network: str) -> dict[int, list[float]]:
    """Epoch -> one accuracy per run, for the epochs that every run evaluated."""
    runs = [
        {
            evaluation.epoch: named[network]
            for evaluation in run.evaluations
            if network in (named := by_name(run, evaluation))
        }
        for run in row.finished
    ]
    shared = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    return {epoch: [run[epoch] for run in runs] for epoch in shared}


def _last(curve: Mapping[int, Sequence[float]]) -> float:
    of = curve[max(curve)]
    return sum(of) / len(of)


# ----------------------------------------------------------------------------------------- accuracy against cost


def _against_cost(rows: Rows, metric: str, formats: Sequence[str]) -> Picture | None:
    """One mark per row with its interval, one dot per run, by the multiply-adds of training."""
    panels = []
    for title, network, group in _panels(rows, metric):
        points = [
            (row, cost, values) for row in group if (cost := _cost(row)) and (values := _values(row, metric, network))
        ]
        if points:
            panels.append((title, network, points))
    if not panels:
        return None
    style = _styles(rows)
    figure, grid = _small_multiples(len(panels))
    for axes, (title, _, points) in zip(grid, panels, strict=False):
        costs = [cost for _, cost, _ in points]
        for (row, cost, values), aside in zip(points, _aside(costs), strict=True):
            colour, _, marker = style[_key(rows, row)]
            of = estimate(values)
            at, beside = (_moved(figure, axes, points=shift) for shift in (aside, aside + 5))
            axes.plot([cost] * len(values), values, ".", color=colour, alpha=0.6, markersize=5, transform=beside)
            bar = {"color": colour, "capsize": 3, "markersize": 5.5, "elinewidth": 1.1, "transform": at}
            axes.errorbar(cost, of.mean or 0.0, of.half_width, fmt=marker, **bar)
        axes.set_title(title)
        axes.set_ylim(*_window([(values, estimate(values)) for _, _, values in points]))
        _cost_axis(axes, costs)
    _label(figure, grid, "multiply-adds of training", "test top-1, %")
    _legend(figure, rows, style, lines=False)
    told = [
        title
        + ": "
        + listed(
            f"{_key(rows, row)} {percent(of.mean)} (95 % interval {interval(of)}) at {count(cost)}"
            for row, cost, values in points
            for of in [estimate(values)]
        )
        for title, _, points in panels
    ]
    return Picture(
        "cost",
        "Accuracy against cost",
        _alt(f"Test top-1 in percent ({METRICS[metric]}) against multiply-adds of training, one mark per row.", told),
        f"Accuracy is that of the {METRICS[metric]}. Marks are means over runs with the 95 % interval of the mean, dots"
        " beside them are runs. Rows of equal cost stand side by side. An interval that reaches the frame goes on"
        " beyond.",
        _files(figure, formats),
    )


def _values(row: Row, metric: str, network: str) -> list[float]:
    return list(row.values(metric).get(network, {}).values())


def _cost(row: Row) -> float | None:
    costs = [cost for run in row.finished if (cost := training_cost(run)) is not None]
    return sum(costs) / len(costs) if costs else None


def _aside(costs: Sequence[float]) -> list[int]:
    """How far, in points, to move each mark to the side, so that those of nearly equal cost do not hide each other."""
    near = 0.03 * max(costs)
    found = []
    for i, cost in enumerate(costs):
        alike = [j for j, other in enumerate(costs) if abs(other - cost) < near]
        found.append(round(14 * (alike.index(i) - (len(alike) - 1) / 2)))
    return found


def _moved(figure: "Figure", axes: "Axes", *, points: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)


def _window(points: Sequence[tuple[Sequence[float], Estimate]]) -> tuple[float, float]:
    """Limits that show every run, and of wide intervals as much as leaves the runs apart."""
    values = [value for of_row, _ in points for value in of_row]
    low, high = min(values), max(values)
    room = max(high - low, 0.5)
    ends = [
        of.mean + side * of.half_width for _, of in points if of.mean is not None and of.half_width for side in (-1, 1)
    ]
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


# ---------------------------------------------------------------------------------------------- matching weights


def _matching(rows: Rows, formats: Sequence[str]) -> Picture | None:
    """Layer against layer, at a few moments from the beginning to the end of training."""
    strips = [strip for row in rows.rows for strip in _strips(rows, row)]
    if not strips:
        return None
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    every = [value for _, _, moments in strips for _, weights in moments for value in weights.values()]
    reach = max(0.02, *(abs(value - NEUTRAL) for value in every))
    colours = ScalarMappable(Normalize(NEUTRAL - reach, NEUTRAL + reach), "PuOr")
    columns = max(len(moments) for _, _, moments in strips)
    figure = _figure(2.0 * columns + 1.6, 2.15 * len(strips) + 0.5)
    axes_left = []
    grid = figure.subplots(len(strips), columns, squeeze=False)
    for line, (title, networks, moments) in zip(grid, strips, strict=True):
        for axes in line[len(moments) :]:
            axes.set_axis_off()
        for axes, (epoch, weights) in zip(line, moments, strict=False):
            _heat_map(axes, weights, colours, f"epoch {epoch}", digits=2 if reach > 0.05 else 3)
            axes.set_xlabel(networks[1])
        line[0].set_ylabel(f"{title}\n{networks[0]}" if len(strips) > 1 or title else networks[0])
        axes_left.append(line[0])
        for axes in line[1 : len(moments)]:
            axes.set_yticklabels([])
    figure.align_ylabels(axes_left)
    figure.colorbar(
        colours, ax=grid.ravel().tolist(), shrink=min(1.0, 1.6 / len(strips) + 0.2), label="matching weight", pad=0.01
    )
    told = []
    for title, networks, moments in strips:
        weights = moments[-1][1]
        most, least = max(weights, key=lambda pair: weights[pair]), min(weights, key=lambda pair: weights[pair])
        told.append(
            f"{title or listed(networks)}: at the end most between {most[0]} and {most[1]} ({weights[most]:.3f}), least"
            f" between {least[0]} and {least[1]} ({weights[least]:.3f})"
        )
    return Picture(
        "matching",
        "Matching weights",
        _alt("Heat maps of the matching weight of each layer of one network with each of another.", told),
        "Mean over runs, and over the steps since the line of metrics.jsonl before. Weights can lie between 0.27 and"
        f" 0.73; those here lie between {min(every):.3f} and {max(every):.3f}, and the colours reach no further than"
        " they ask for. 0.5 is the weight of two layers whose embeddings are orthogonal.",
        _files(figure, formats),
    )


def _strips(rows: Rows, row: Row) -> list[tuple[str, tuple[str, str], list[tuple[int, dict[tuple[str, str], float]]]]]:
    """Of each pair of networks of a row: a title, the two, and the weights at a few epochs, averaged over runs."""
    runs = [{line.step: line for line in run.matching} for run in row.finished if run.matching]
    steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    if not steps:
        return []
    chosen = sorted({steps[round(i * (len(steps) - 1) / (MOMENTS - 1))] for i in range(MOMENTS)})
    names = {network.get("key"): network["name"] for network in row.finished[0].summary["networks"]}
    pairs = dict.fromkeys((a.split(".")[0], b.split(".")[0]) for a, b in runs[0][steps[0]].weights)
    strips = []
    for pair in pairs:
        moments = []
        for step in chosen:
            lines = [run[step] for run in runs]
            weights = {
                places: sum(line.weights[places] for line in lines) / len(lines)
                for places in lines[0].weights
                if tuple(place.split(".")[0] for place in places) == pair
                and all(places in line.weights for line in lines)
            }
            moments.append((lines[0].epoch, weights))
        called = (f"{pair[0]} ({names.get(pair[0], '?')})", f"{pair[1]} ({names.get(pair[1], '?')})")
        strips.append((rows.name(row), called, [moment for moment in moments if moment[1]]))
    return strips


def _heat_map(axes: "Axes", weights: Mapping[tuple[str, str], float], colours: Any, title: str, *, digits: int) -> None:
    down, across = (list(dict.fromkeys(places[side] for places in weights)) for side in (0, 1))
    axes.set_title(title)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=7)
    axes.set_xticks(range(len(across)), [place.split(".")[1] for place in across])
    axes.set_yticks(range(len(down)), [place.split(".")[1] for place in down])
    axes.imshow(
        [[weights.get((a, b), float("nan")) for b in across] for a in down], cmap=colours.cmap, norm=colours.norm
    )
    for (a, b), value in weights.items():
        red, green, blue, _ = colours.to_rgba(value)
        colour = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
        axes.text(
            across.index(b), down.index(a), f"{value:.{digits}f}", ha="center", va="center", color=colour, fontsize=7.5
        )


# --------------------------------------------------------------------------------------------------- what all share


def _panels(rows: Rows, metric: str) -> list[Panel]:
    """One for each network name of each group of rows that are compared with one another."""
    found = []
    for shared, group in rows.groups().items():
        networks = dict.fromkeys(network for row in group for network in row.values(metric))
        for network in networks:
            title = network if shared in ("", network) else f"{shared}: {network}" if len(networks) > 1 else shared
            found.append((title, network, [row for row in group if network in row.values(metric)]))
    return found


def _key(rows: Rows, row: Row) -> str:
    """What tells a row apart within its panel."""
    return rows.name(row, rows.compared) or rows.name(row)


def _styles(rows: Rows) -> dict[str, tuple[str, str, str]]:
    """Colour, dash and marker by what tells rows apart: the same in every picture."""
    keys = dict.fromkeys(_key(rows, row) for row in rows.rows)
    return {
        key: (COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)], MARKERS[i % len(MARKERS)])
        for i, key in enumerate(keys)
    }


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _small_multiples(panels: int) -> tuple["Figure", list["Axes"]]:
    columns = min(panels, COLUMNS)
    lines = -(-panels // columns)
    width, height = (6.4, 4.0) if panels == 1 else (3.3 * columns, 2.7 * lines + 0.5)
    figure = _figure(width, height)
    grid = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axes in grid[panels:]:
        axes.set_axis_off()
    return figure, grid[:panels]


def _label(figure: "Figure", grid: Sequence["Axes"], x: str, y: str) -> None:
    figure.supxlabel(x, fontsize=9)
    for axes in grid[::COLUMNS]:
        axes.set_ylabel(y)


def _legend(figure: "Figure", rows: Rows, style: Mapping[str, tuple[str, str, str]], *, lines: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, ls=dash if lines else "", marker="" if lines else marker, label=key)
        for key, (colour, dash, marker) in style.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))


def _alt(first: str, more: Sequence[str]) -> str:
    """Alternative text, without what would end it."""
    return " ".join([first, *(f"{sentence}." for sentence in more[:4])]).replace("[", "(").replace("]", ")")


def _files(figure: "Figure", formats: Sequence[str]) -> dict[str, bytes]:
    files = {}
    for form in dict.fromkeys(formats):
        content = io.BytesIO()
        figure.savefig(content, format=form, dpi=DPI, metadata=_FIXED[form])
        files[form] = content.getvalue()
    return files
