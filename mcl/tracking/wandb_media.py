"""Images, charts and tables of a snapshot in the types of Weights & Biases."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mcl.tracking.pictures import SnapshotPictures
from mcl.tracking.tracker import Histogram

if TYPE_CHECKING:
    import wandb
    from torch import Tensor
    from wandb.plot.custom_chart import CustomChart

CHART_CLASSES = 100  # largest number of classes whose pairs fit into a chart: W&B takes 10,000 rows
MISTAKES = 1000  # rows of the table of mistakes, in place of the chart


class SnapshotMedia(SnapshotPictures):
    """The pictures of a snapshot, and its charts and tables."""

    def logged(self, epoch: int) -> "dict[str, wandb.Image | wandb.Table | CustomChart]":
        """Return the entries of a row: ``pictures/...``, ``charts/confusion/...``, ``tables/...``."""
        import wandb
        from PIL import Image

        row: dict[str, wandb.Image | wandb.Table | CustomChart] = {}
        for name, content, caption in self.drawn(epoch):
            row[f"pictures/{name}"] = wandb.Image(Image.open(io.BytesIO(content)), caption=caption)
        for name in self.snapshot.predicted:
            if len(self.snapshot.classes) <= CHART_CLASSES:
                row[f"charts/confusion/{name}"] = self._confusion_chart(name, epoch)
            else:
                row[f"tables/mistakes/{name}"] = self._mistakes(name)
        row["tables/samples"] = self._samples(epoch)
        return row

    def _confusion_chart(self, name: str, epoch: int) -> "CustomChart":
        import wandb

        return wandb.plot.confusion_matrix(
            y_true=self.snapshot.labels.tolist(),
            preds=self.snapshot.predicted[name].tolist(),
            class_names=list(self.snapshot.classes),
            title=f"{name}: confusion on the test split, epoch {epoch}",
        )

    def _mistakes(self, name: str) -> "wandb.Table":
        import wandb

        return wandb.Table(columns=["true", "predicted", "images"], data=list(self._most_frequent_mistakes(name)))

    def _most_frequent_mistakes(self, name: str) -> Iterator[tuple[str, str, int]]:
        confusion = self.snapshot.confusion(name).fill_diagonal_(0)
        classes = self.snapshot.classes
        counts, cells = confusion.flatten().sort(descending=True, stable=True)
        for count, cell in zip(counts[:MISTAKES].tolist(), cells[:MISTAKES].tolist(), strict=True):
            if count:
                yield classes[cell // len(classes)], classes[cell % len(classes)], count

    def _samples(self, epoch: int) -> "wandb.Table":
        import wandb

        snapshot = self.snapshot
        networks = list(snapshot.image_predicted)
        columns: list[str | int] = [
            "image",
            "true",
            *(f"{name} {what}" for name in networks for what in ("predicted", "confidence")),
        ]
        table = wandb.Table(columns=columns)
        for i, label in enumerate(snapshot.image_labels.tolist()):
            true = snapshot.classes[label]
            cells: list[str | float] = []
            for name in networks:
                cells.append(snapshot.classes[int(snapshot.image_predicted[name][i])])
                cells.append(round(float(snapshot.image_confidence[name][i]), 4))
            image = wandb.Image(_pixels(snapshot.images[i]), caption=f"true {true}, epoch {epoch}")
            table.add_data(image, true, *cells)
        return table


def wandb_histogram(histogram: Histogram) -> "wandb.Histogram":
    """Return a histogram as W&B logs it."""
    import wandb

    return wandb.Histogram(np_histogram=(np.array(histogram.counts), np.array(histogram.edges)))


def _pixels(image: "Tensor") -> np.ndarray:
    """Return an image (channels, height, width) as (height, width) or (height, width, channels)."""
    pixels: np.ndarray = image.permute(1, 2, 0).numpy()
    return pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels
