"""Expected calibration error of the backbones and their ensemble (Guo et al., ICML 2017)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl import distributed

BINS = 15  # of equal width: (0, 1/15], (1/15, 2/15], ...


def confidence_bins(logits: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the confidence of every prediction, and the bin that it falls into.

    Args:
        logits: (B, classes).
        predicted: (B,) the predicted classes.

    Returns:
        Probabilities (B,), and integers (B,) from 0 to ``BINS - 1``.
    """
    confidence = logits.softmax(1).gather(1, predicted[:, None])[:, 0]
    return confidence, (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)


class Calibration:
    """Accumulate the calibration of some heads over an evaluation; until the end, everything stays on the device.

    Args:
        heads: names of the heads, such as ``"first/backbone"``; others are passed over.
    """

    def __init__(self, heads: list[str]):
        self.heads = heads
        self._sums: Tensor | int = 0  # (heads, BINS): correct predictions less the sum of their confidence
        self._images = 0

    def on_batch(self, heads: Mapping[str, Tensor], labels: Tensor) -> None:
        """Add a batch: logits (B, classes) by head, and labels (B,)."""
        self._sums = self._sums + torch.stack([_gaps(heads[name], labels) for name in self.heads])
        self._images += len(labels)

    def errors(self) -> dict[str, float]:
        """Return the calibration error of each head in percent. Every process must call this.

        The error is the distance of mean confidence from accuracy, averaged over the bins by their images.
        """
        assert isinstance(self._sums, Tensor), "nothing was evaluated"
        images = int(distributed.all_reduce_sum(torch.tensor(self._images)))
        gaps = distributed.all_reduce_sum(self._sums).abs().sum(1).cpu().tolist()
        return {name: 100 * gap / images for name, gap in zip(self.heads, gaps, strict=True)}


def _gaps(logits: Tensor, labels: Tensor) -> Tensor:
    """Return hits less confidence, summed over a batch by bin (BINS,); in float64 unless on MPS."""
    predicted = logits.argmax(1)
    confidence, bins = confidence_bins(logits, predicted)
    gaps = (predicted == labels).to(confidence) - confidence
    by_bin = F.one_hot(bins, BINS) * gaps[:, None]  # summed, not index_add: that differs from call to call on GPUs
    return by_bin.sum(0, dtype=None if logits.device.type == "mps" else torch.float64)
