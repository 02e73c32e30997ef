"""Projection heads: pooled features to unit vectors for contrast."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mcl.losses.numerics import l2_normalize


class ProjectionHead(nn.Module):
    """Linear, ReLU, Linear, L2 normalisation.

    Args:
        width: of the features.
        dim: of the embedding and of the hidden layer.
    """

    def __init__(self, width: int, dim: int = 128):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, features: Tensor) -> Tensor:
        """(B, width) to (B, dim) of length 1."""
        return l2_normalize(self.layers(features))


class PerStage(nn.ModuleList):
    """One module for each stage of a network."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """S times (B, width) to (S, B, width of the modules' outputs)."""
        return torch.stack([module(stage) for module, stage in zip(self, features, strict=True)])
