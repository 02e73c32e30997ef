"""Accuracy and calibration of a classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.training.calibration import BINS, confidence_bins


class Scores:
    """Accumulate the metrics of one head, batch by batch; memory does not grow with the number of images."""

    def __init__(self, classes: int):
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64)  # [label, prediction]
        self._top5_correct = 0
        self._nll = 0.0
        self._bins = torch.zeros(3, BINS, dtype=torch.float64)  # images, correct ones, sum of confidence

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (B, classes) and labels (B,)."""
        logits, labels = logits.detach().cpu().double(), labels.cpu()
        classes = len(self.confusion)
        best = logits.topk(min(5, classes), dim=1).indices
        self._top5_correct += int((best == labels[:, None]).sum())
        self._nll += float(F.cross_entropy(logits, labels, reduction="sum"))
        predicted = best[:, 0]
        self.confusion += torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)
        confidence, bins = confidence_bins(logits, predicted)
        ones = torch.ones_like(confidence)
        for row, values in zip(self._bins, (ones, (predicted == labels).double(), confidence), strict=True):
            row.index_add_(0, bins, values)

    @property
    def images(self) -> int:
        """The number of images so far."""
        return int(self.confusion.sum())

    def per_class(self) -> list[float | None]:
        """Return the recall of each class in percent; None for a class without images."""
        images, correct = self.confusion.sum(1), self.confusion.diagonal()
        return [100 * int(c) / int(n) if n else None for c, n in zip(correct, images, strict=True)]

    def result(self) -> dict[str, float]:
        """Return ``top1``, ``top5``, ``balanced_accuracy`` (mean over classes) and ``ece`` in percent, ``nll`` in nats.

        The expected calibration error (Guo et al., ICML 2017) is the mean distance of confidence from accuracy, over
        15 bins of equal width, weighted by the images in them.
        """
        recalls = [recall for recall in self.per_class() if recall is not None]
        return {
            "top1": 100 * int(self.confusion.diagonal().sum()) / self.images,
            "top5": 100 * self._top5_correct / self.images,
            "nll": self._nll / self.images,
            "ece": 100 * float((self._bins[1] - self._bins[2]).abs().sum()) / self.images,
            "balanced_accuracy": sum(recalls) / len(recalls),
        }
