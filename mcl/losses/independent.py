"""Independent training, the baseline: each network learns alone."""

from collections.abc import Sequence

from torch import Tensor

from mcl.losses.base import Loss, Weights
from mcl.types import Batch, Outputs


class Independent(Loss):
    """Cross-entropy of each backbone, summed over networks.

    Args:
        widths: unused; every loss receives the feature widths of the stages.
        weights: factor of each term in the sum.

    Raises:
        UserError: As in `Loss`.
    """

    capturable = True
    flexible_targets = True

    def __init__(self, *, widths: list[list[int]], weights: Weights | None = None):
        super().__init__(weights)

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        return {"classification": self.classification([network.logits[-1] for network in outputs], batch)}
