"""Pictures of what a classifier confuses."""

import io
from collections.abc import Sequence

from torch import Tensor

NAMED, NUMBERED = 40, 20  # up to so many classes, names fit on the axes, and numbers into the squares


def confusion_picture(confusion: Tensor, classes: Sequence[str], title: str) -> bytes:
    """A confusion matrix as PNG: each row, a true class, in shares of its images.

    Args:
        confusion: (classes, classes) counts, [label, prediction].
        classes: their names.
        title: above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    count = len(classes)
    shares = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    side = min(16.0, 3.5 + 0.35 * min(count, NAMED))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    axes.set(title=title, xlabel="predicted", ylabel="true")
    if count <= NAMED:
        axes.set_xticks(range(count), classes, rotation=90)
        axes.set_yticks(range(count), classes)
    if count <= NUMBERED:
        for label, row in enumerate(confusion.tolist()):
            for predicted, number in enumerate(row):
                if number:
                    colour = "white" if shares[label, predicted] > 0.5 else "black"
                    axes.text(predicted, label, str(number), ha="center", va="center", color=colour, fontsize=7)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()
