"""Images for trackers: confusion matrices, samples, matching weights. All are PNG."""

import io
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from mcl.drawing import fonts_of_the_system, new_figure
from mcl.palette import INK, LIGHT, diverging, sequential
from mcl.tracking.tracker import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

NAMED, NUMBERED = 40, 20  # largest numbers of classes whose names fit on the axes, and counts into the squares
LONGEST_NAME, LONGEST_LABEL = 18, 24  # letters of a class name beside an image, and on an axis
UPRIGHT_NAME = 2  # letters of a class name that fit below a square
WEIGHTS = (0.25, 0.75)  # ends of the color scale of matching weights, which lie between 0.27 and 0.73
WRONG = "firebrick"
LETTERS = 10  # of a title to an inch of its image


@fonts_of_the_system()
def confusion_picture(confusion: "Tensor", classes: Sequence[str], title: str) -> bytes:
    """Draw a confusion matrix as PNG, each row normalized to shares of the true class.

    Args:
        confusion: (classes, classes) counts, [label, prediction].
        classes: their names.
        title: title of the image.
    """
    count = len(classes)
    shares = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    side = 3.5 + 0.35 * count if count <= NAMED else 10.0
    figure = new_figure(side + 0.8, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap=sequential(), interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    _set_title(axes, f"{title}, n = {int(confusion.sum()):,} images", side)
    axes.set(xlabel="predicted", ylabel="true")
    if count <= NAMED:
        labels = [_shortened(name, LONGEST_LABEL) for name in classes]
        upright = max(map(len, labels)) <= UPRIGHT_NAME
        axes.set_xticks(range(count), labels, rotation=0 if upright else 90, parse_math=False)
        axes.set_yticks(range(count), labels, parse_math=False)
    if count <= NUMBERED:
        for label, row in enumerate(confusion.tolist()):
            for predicted, number in enumerate(row):
                if number:
                    axes.text(predicted, label, str(number), ha="center", va="center", color=INK[LIGHT], fontsize=7)
    return _png(figure)


@fonts_of_the_system()
def matching_pictures(
    metrics: Mapping[str, float], names: Mapping[str, str] | None = None, about: str = ""
) -> dict[str, bytes]:
    """Draw a heat map of matching weights for each pair of networks, ``"first-second"``.

    Args:
        metrics: among others ``matching/first.stage1/second.backbone``, ...
        names: what titles call the networks, by key.
        about: second line of the titles.
    """
    names = names or {}
    by_pair: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for name, weight in metrics.items():
        if name.startswith("matching/"):
            (one, node), (other, other_node) = (part.split(".", 1) for part in name.split("/")[1:])
            by_pair.setdefault((one, other), {})[node, other_node] = weight
    return {
        f"{one}-{other}": _heat_map(weights, names.get(one, one), names.get(other, other), about)
        for (one, other), weights in by_pair.items()
    }


def _heat_map(weights: Mapping[tuple[str, str], float], one: str, other: str, about: str) -> bytes:
    down, across = (list(dict.fromkeys(nodes[side] for nodes in weights)) for side in (0, 1))
    width = 2.6 + 0.8 * len(across)
    figure = new_figure(width, 1.2 + 0.8 * len(down))
    axes = figure.add_subplot()
    shown = [[weights.get((a, b), float("nan")) for b in across] for a in down]
    image = axes.imshow(shown, vmin=WEIGHTS[0], vmax=WEIGHTS[1], cmap=diverging())  # one scale for all epochs
    figure.colorbar(image, ax=axes, shrink=0.8, label="matching weight")
    axes.set(xlabel=other, ylabel=one)
    _set_title(axes, "\n".join(filter(None, [f"{one} × {other}", about])), width)
    axes.set_xticks(range(len(across)), across)
    axes.set_yticks(range(len(down)), down)
    for (a, b), weight in weights.items():
        axes.text(across.index(b), down.index(a), f"{weight:.3f}", ha="center", va="center", color=INK[LIGHT])
    return _png(figure)


@fonts_of_the_system()
def samples_picture(snapshot: Snapshot, title: str = "") -> bytes:
    """Draw the images of a snapshot with their true classes and all predictions; the ensemble's errors are red."""
    count = len(snapshot.images)
    columns = min(6, count)
    rows = -(-count // columns)
    title_lines = 1 + len(snapshot.image_predicted)
    figure = new_figure(2.1 * columns, (1.9 + 0.16 * title_lines) * rows + 0.3)
    figure.suptitle(fill(title, int(LETTERS * 2.1 * columns)), fontsize=10, parse_math=False)
    for i in range(count):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.set_axis_off()
        image = snapshot.images[i].permute(1, 2, 0).numpy()
        axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        label = int(snapshot.image_labels[i])
        lines = [f"true {_shortened(snapshot.classes[label])}"]
        right = True
        for name, predicted in snapshot.image_predicted.items():
            right = bool(predicted[i] == label)
            confidence = float(snapshot.image_confidence[name][i])
            lines.append(
                f"{name} {_shortened(snapshot.classes[int(predicted[i])])} {confidence:.0%}{'' if right else ' ✗'}"
            )
        color = "black" if right else WRONG  # the last prediction decides: the ensemble's, if there is one
        axes.set_title("\n".join(lines), fontsize=7, parse_math=False, color=color)
    return _png(figure)


def _set_title(axes: "Axes", title: str, width: float) -> None:
    """Write a title in lines that fit an image of this width in inches."""
    lines = [fill(line, int(LETTERS * width)) for line in title.split("\n")]
    axes.set_title("\n".join(lines), fontsize=10, parse_math=False)


def _shortened(name: str, longest: int = LONGEST_NAME) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()
