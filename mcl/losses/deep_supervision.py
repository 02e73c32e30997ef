"""Deep supervision: each network alone, with its branches; the gain that needs no mutual learning."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mcl.losses.base import Loss
from mcl.losses.classification import classification
from mcl.types import Batch, Outputs


class DeepSupervision(Loss):
    """Cross-entropy of every stage of every network, summed.

    Args:
        widths: per network, per stage, the width of its features. Not needed here; every loss is given it.
        weights: factor of each term in the sum.
    """

    needs_branches = True

    def __init__(self, *, widths: list[list[int]], weights: Mapping[str, float] | None = None):
        super().__init__(weights)

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits = [stage for network in outputs for stage in network.logits]
        return {"classification": classification(logits, batch.labels)}
