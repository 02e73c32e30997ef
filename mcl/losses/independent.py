"""Independent training: each network alone, the baseline."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mcl.losses.base import Loss
from mcl.losses.classification import classification
from mcl.types import Batch, Outputs


class Independent(Loss):
    """Cross-entropy of each network's backbone, summed over networks: nothing passes between them.

    Args:
        widths: per network, per stage, the width of its features. Not needed here; every loss is given it.
        weights: factor of each term in the sum.
    """

    def __init__(self, *, widths: list[list[int]], weights: Mapping[str, float] | None = None):
        super().__init__(weights)

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        return {"classification": classification([network.logits[-1] for network in outputs], batch.labels)}
