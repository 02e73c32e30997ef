"""Matching weights of a report's runs, stage against stage, over training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcl.console import pluralize
from mcl.drawing import new_figure
from mcl.palette import INK, LIGHT, diverging
from mcl.reports.figures import Picture, alternative_text, evenly_spaced, files
from mcl.reports.markdown import listed
from mcl.reports.panels import dataset_name, method_name
from mcl.reports.rows import Row, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOMENTS = 5  # of training, at which matching weights are shown
REACHES = (0.05, 0.1, 0.25)  # of the colors on either side of the neutral weight; none lies further than 0.23
ROUNDING = 1e-9
Weights = dict[tuple[str, str], float]

NEUTRAL = 0.5  # matching weight of two stages whose embeddings are orthogonal


@dataclass(frozen=True)
class Strip:
    """Matching weights of one pair of networks of a row, at a few moments of training.

    Args:
        title: the name of the row.
        networks: the names of the two networks.
        about: what was trained on which data, and how many runs are averaged.
        moments: epochs, each with the weight of every pair of stages, such as ``("first.stage1", "second.backbone")``.
    """

    title: str
    networks: tuple[str, str]
    about: str
    moments: list[tuple[int, Weights]]

    @property
    def heading(self) -> str:
        """The title of its maps: networks, method, data and number of runs."""
        return ", ".join(filter(None, [" × ".join(self.networks), self.title, self.about]))


def matching(rows: Rows, formats: Sequence[str]) -> Picture | None:
    """Draw stage against stage, at a few moments from the beginning to the end of training."""
    drawn = [strip for row in rows.rows for strip in strips(rows, row, MOMENTS)]
    if not drawn:
        return None
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    every = _values(drawn)
    reach = color_reach(drawn)
    colors = ScalarMappable(Normalize(NEUTRAL - reach, NEUTRAL + reach), diverging())
    columns = max(len(strip.moments) for strip in drawn)
    figure = new_figure(2.0 * columns + 1.6, 2.7 * len(drawn))
    texts = []
    for part, strip in zip(figure.subfigures(len(drawn), 1, squeeze=False)[:, 0], drawn, strict=True):
        part.suptitle(strip.heading, fontsize=9, parse_math=False)
        line = part.subplots(1, columns, squeeze=False)[0]
        moments, (down, across) = strip.moments, strip.networks
        for axes in line[len(moments) :]:
            axes.set_axis_off()
        for axes, (epoch, weights) in zip(line, moments, strict=False):
            _heat_map(axes, weights, colors, digits=2 if reach > 0.1 else 3)
            axes.set_title(f"epoch {epoch}")
        line[len(moments) // 2].set_xlabel(across)
        line[0].set_ylabel(down)
        for axes in line[1 : len(moments)]:
            axes.set_yticklabels([])
        part.colorbar(colors, ax=line.tolist(), shrink=0.8, label="matching weight", pad=0.01)
        weights = moments[-1][1]
        most, least = max(weights, key=weights.__getitem__), min(weights, key=weights.__getitem__)
        texts.append(
            f"{strip.title or listed(strip.networks)}: at the end most between {most[0]} and {most[1]}"
            f" ({weights[most]:.3f}), least between {least[0]} and {least[1]} ({weights[least]:.3f})"
        )
    return Picture(
        "matching",
        "Matching weights",
        alternative_text("Heat maps of the matching weight of each stage of one network with each of another.", texts),
        "Mean over runs, and over the steps since the previous line of metrics.jsonl. Weights can lie between 0.27 and"
        f" 0.73; those here lie between {min(every):.3f} and {max(every):.3f}. All maps have one color scale, from"
        f" {NEUTRAL - reach:.2f} to {NEUTRAL + reach:.2f}, so epochs can be compared. 0.5 is the weight of two stages"
        " whose embeddings are orthogonal.",
        files(figure, formats),
    )


def color_reach(strips: Sequence[Strip]) -> float:
    """Return how far from `NEUTRAL` the colors reach: one of `REACHES`, so that most reports have the same scale."""
    furthest = max(abs(value - NEUTRAL) for value in _values(strips))
    return next((reach for reach in REACHES if reach >= furthest - ROUNDING), furthest)


def strips(rows: Rows, row: Row, most: int) -> list[Strip]:
    """Return each pair of networks of a row, averaged over its runs, at up to ``most`` moments, the ends included."""
    runs = [{line.step: line for line in run.matching} for run in row.finished if run.matching and run.has_curve]
    steps = sorted(set.intersection(*map(set, runs))) if runs else []
    if not steps:
        return []
    names = {network.get("key"): network["name"] for network in row.finished[0].summary["networks"]}
    moments: dict[tuple[str, str], list[tuple[int, Weights]]] = {}
    for step in (steps[i] for i in evenly_spaced(len(steps), most)):
        lines = [run[step] for run in runs]
        by_networks: dict[tuple[str, str], Weights] = {}
        for stages in lines[0].weights:
            if all(stages in line.weights for line in lines):
                pair = (stages[0].split(".")[0], stages[1].split(".")[0])
                average = sum(line.weights[stages] for line in lines) / len(lines)
                by_networks.setdefault(pair, {})[stages] = average
        for pair, weights in by_networks.items():
            moments.setdefault(pair, []).append((lines[0].epoch, weights))
    method = method_name(row)
    title = rows.name(row) if method in rows.name(row) else f"{rows.name(row)}, {method}"
    about = f"{dataset_name([row])}, n = {pluralize(len(runs), 'run')}"
    return [
        Strip(title, (f"{a} ({names.get(a, '?')})", f"{b} ({names.get(b, '?')})"), about, of_pair)
        for (a, b), of_pair in moments.items()
    ]


def axes_of(moments: Iterable[Weights]) -> tuple[list[str], list[str]]:
    """Return the stages down and across, in the order in which the weights name them."""
    pairs = [stages for weights in moments for stages in weights]
    return list(dict.fromkeys(a for a, _ in pairs)), list(dict.fromkeys(b for _, b in pairs))


def _values(strips: Sequence[Strip]) -> list[float]:
    return [value for strip in strips for _, weights in strip.moments for value in weights.values()]


def _heat_map(axes: "Axes", weights: Weights, colors: Any, *, digits: int) -> None:
    down, across = axes_of([weights])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=7)
    axes.set_xticks(range(len(across)), [stage.split(".")[1] for stage in across])
    axes.set_yticks(range(len(down)), [stage.split(".")[1] for stage in down])
    axes.imshow([[weights.get((a, b), float("nan")) for b in across] for a in down], cmap=colors.cmap, norm=colors.norm)
    for (a, b), value in weights.items():
        axes.text(
            across.index(b),
            down.index(a),
            f"{value:.{digits}f}",
            ha="center",
            va="center",
            color=INK[LIGHT],
            fontsize=7.5,
        )
