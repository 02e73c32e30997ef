"""Deep supervision: each network learns alone, with its branches (AISTATS 2015, arXiv 1409.5185).

Its gain over `independent` is that of the branches, without mutual learning.
"""

from collections.abc import Sequence

from torch import Tensor

from mcl.losses.base import Loss, Weights, stage_logits
from mcl.types import Batch, Outputs


class DeepSupervision(Loss):
    """Cross-entropy of each stage, summed over stages and networks.

    Args:
        widths: unused; every loss receives the feature widths of the stages.
        weights: factor of each term in the sum.

    Raises:
        UserError: As in `Loss`.
    """

    needs_branches = True
    capturable = True
    flexible_targets = True

    def __init__(self, *, widths: list[list[int]], weights: Weights | None = None):
        super().__init__(weights)

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        return {"classification": self.classification(stage_logits(outputs), batch)}
