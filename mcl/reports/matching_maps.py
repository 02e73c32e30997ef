"""Matching weights of a report's runs, stage against stage, over training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcl.reports.figures import Picture, alternative_text, files, new_figure
from mcl.reports.markdown import listed
from mcl.reports.rows import Row, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOMENTS = 5  # of training, at which matching weights are shown
NEUTRAL = 0.5  # matching weight of two layers whose embeddings are orthogonal

# Of a pair of networks of a row: a title, the two, and the weights of pairs of layers at a few epochs.
Strip = tuple[str, tuple[str, str], list[tuple[int, dict[tuple[str, str], float]]]]


def matching(rows: Rows, formats: Sequence[str]) -> Picture | None:
    """Layer against layer, at a few moments from the beginning to the end of training."""
    found = [strip for row in rows.rows for strip in strips(rows, row, MOMENTS)]
    if not found:
        return None
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    every = _values(found)
    reach = colour_reach(found)
    colours = ScalarMappable(Normalize(NEUTRAL - reach, NEUTRAL + reach), "PuOr")
    columns = max(len(moments) for _, _, moments in found)
    figure = new_figure(2.0 * columns + 1.6, 2.15 * len(found) + 0.5)
    axes_left = []
    grid = figure.subplots(len(found), columns, squeeze=False)
    above: list[int] = []
    for line, (title, networks, moments) in zip(grid, found, strict=True):
        epochs = [epoch for epoch, _ in moments]
        for axes in line[len(moments) :]:
            axes.set_axis_off()
        for axes, (epoch, weights) in zip(line, moments, strict=False):
            _heat_map(axes, weights, colours, digits=2 if reach > 0.05 else 3)
            if epochs != above:  # else the strip above says it
                axes.set_title(f"epoch {epoch}")
        above = epochs
        line[len(moments) // 2].set_xlabel(networks[1])
        line[0].set_ylabel(f"{title}\n{networks[0]}" if len(found) > 1 or title else networks[0])
        axes_left.append(line[0])
        for axes in line[1 : len(moments)]:
            axes.set_yticklabels([])
    figure.align_ylabels(axes_left)
    figure.colorbar(
        colours, ax=grid.ravel().tolist(), shrink=min(1.0, 1.6 / len(found) + 0.2), label="matching weight", pad=0.01
    )
    told = []
    for title, networks, moments in found:
        weights = moments[-1][1]
        most, least = max(weights, key=lambda pair: weights[pair]), min(weights, key=lambda pair: weights[pair])
        told.append(
            f"{title or listed(networks)}: at the end most between {most[0]} and {most[1]} ({weights[most]:.3f}), least"
            f" between {least[0]} and {least[1]} ({weights[least]:.3f})"
        )
    return Picture(
        "matching",
        "Matching weights",
        alternative_text("Heat maps of the matching weight of each layer of one network with each of another.", told),
        "Mean over runs, and over the steps since the line of metrics.jsonl before. Weights can lie between 0.27 and"
        f" 0.73; those here lie between {min(every):.3f} and {max(every):.3f}, and the colours reach no further than"
        " they ask for. 0.5 is the weight of two layers whose embeddings are orthogonal.",
        files(figure, formats),
    )


def colour_reach(found: Sequence[Strip]) -> float:
    """How far from `NEUTRAL` the colours reach that show all weights."""
    return max(0.02, *(abs(value - NEUTRAL) for value in _values(found)))


def strips(rows: Rows, row: Row, most: int) -> list[Strip]:
    """Each pair of networks of a row, averaged over its runs, at up to ``most`` moments, its ends included."""
    runs = [{line.step: line for line in run.matching} for run in row.finished if run.matching and run.has_curve]
    steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    if not steps:
        return []
    chosen = sorted({steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)})
    names = {network.get("key"): network["name"] for network in row.finished[0].summary["networks"]}
    pairs = dict.fromkeys((a.split(".")[0], b.split(".")[0]) for a, b in runs[0][steps[0]].weights)
    found: list[Strip] = []
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
        found.append((rows.name(row), called, [moment for moment in moments if moment[1]]))
    return found


def _values(found: Sequence[Strip]) -> list[float]:
    return [value for _, _, moments in found for _, weights in moments for value in weights.values()]


def _heat_map(axes: "Axes", weights: Mapping[tuple[str, str], float], colours: Any, *, digits: int) -> None:
    down, across = (list(dict.fromkeys(places[side] for places in weights)) for side in (0, 1))
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
