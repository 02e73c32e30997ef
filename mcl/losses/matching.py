"""Matching weights between the stages of different networks: learned, or fixed.

A matching is built from ``widths`` (per network, per stage: the width of its features) and maps features, a list over
networks of lists over stages of (B, width), to weights (G, G, B) between all G places, counted network by network,
stage by stage. Weights between places of one network mean nothing; contrast ignores them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mcl.losses.heads import PerStage
from mcl.losses.numerics import l2_normalize


class LayerMatching(nn.Module):
    """Learned weights: sigmoid of the cosine of linear projections, for each sample (L-MCL, TPAMI 2023).

    Args:
        widths: per network, per stage, the width of its features.
        dim: of the projections.
    """

    def __init__(self, widths: Sequence[Sequence[int]], dim: int = 128):
        super().__init__()
        self.projections = nn.ModuleList(PerStage(nn.Linear(width, dim) for width in stages) for stages in widths)

    def forward(self, features: Sequence[Sequence[Tensor]]) -> Tensor:
        """Weights (G, G, B), symmetric in the two places."""
        projected = [project(stages) for project, stages in zip(self.projections, features, strict=True)]
        directions = l2_normalize(torch.cat(projected))  # (G, B, dim)
        return torch.einsum("pbd,qbd->pqb", directions, directions).sigmoid()


class FixedMatching(nn.Module):
    """Weights that stay: 1 between all stages, or 1 between equal stages and 0 elsewhere.

    Args:
        widths: per network, per stage, the width of its features.
        same_stage: match equal stages only. Stages are counted from the last, the backbone itself: of networks with
            different numbers of stages, the first stages of the longer one match nothing.
    """

    weights: Tensor

    def __init__(self, widths: Sequence[Sequence[int]], same_stage: bool = False):
        super().__init__()
        from_last = torch.cat([torch.arange(len(stages)).flip(0) for stages in widths])
        equal = from_last[:, None] == from_last
        self.register_buffer("weights", equal.float() if same_stage else torch.ones(equal.shape), persistent=False)

    def forward(self, features: Sequence[Sequence[Tensor]]) -> Tensor:
        """Weights (G, G, B)."""
        stage = features[0][0]
        return self.weights.to(stage.dtype)[:, :, None].expand(-1, -1, len(stage))
