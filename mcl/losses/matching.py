"""Matching weights: how much each stage of one network learns from each stage of another, per sample.

A *node* is a stage of a particular network. The G nodes of a cohort are counted network by network, stage by stage. A
matching maps features, a list over networks of lists over stages of (B, width), to weights (G, G, B). Weights between
nodes of one network have no meaning, and contrast ignores them.

L-MCL (arXiv 2207.11518, adaptive layer matching): w[p, q] = sigmoid(cos(W_p f_p, W_q f_q)), with W learned by
meta-optimization.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.losses.heads import PerStage
from mcl.losses.numerics import l2_normalize


class LayerMatching(nn.Module):
    """Learned weights: the sigmoid of the cosine of two nodes' linear projections, for each sample.

    Args:
        widths: per network, per stage, the width of its features.
        dim: dimension of the projections.

    Raises:
        UserError: ``dim`` is below 1.
    """

    def __init__(self, widths: Sequence[Sequence[int]], dim: int = 128):
        super().__init__()
        if dim < 1:
            raise UserError(f"loss.matching.dim={dim}: must be at least 1.")
        self.projections = nn.ModuleList(PerStage(nn.Linear(width, dim) for width in stages) for stages in widths)

    def forward(self, features: Sequence[Sequence[Tensor]]) -> Tensor:
        """Return weights (G, G, B) from 0.269 to 0.731, the sigmoid of -1 and of 1; symmetric in the two nodes.

        Args:
            features: list over networks of lists over stages of (B, width).
        """
        projected = [project(stages) for project, stages in zip(self.projections, features, strict=True)]
        directions = l2_normalize(torch.cat(projected))  # (G, B, dim)
        return torch.einsum("pbd,qbd->pqb", directions, directions).sigmoid()


class FixedMatching(nn.Module):
    """Constant weights: 1 between all nodes, or 1 between equal stages and 0 elsewhere.

    Args:
        widths: per network, per stage, the width of its features.
        same_stage: match equal stages only. Stages are counted from the last, the backbone itself. If networks differ
            in their number of stages, the first stages of the longer one match nothing.
    """

    weights: Tensor  # (G, G)

    def __init__(self, widths: Sequence[Sequence[int]], same_stage: bool = False):
        super().__init__()
        from_last = torch.cat([torch.arange(len(stages)).flip(0) for stages in widths])
        equal = from_last[:, None] == from_last
        self.register_buffer("weights", equal.float() if same_stage else torch.ones(equal.shape), persistent=False)

    def forward(self, features: Sequence[Sequence[Tensor]]) -> Tensor:
        """Return weights (G, G, B)."""
        stage = features[0][0]
        return self.weights.to(stage.dtype)[:, :, None].expand(-1, -1, len(stage))
