"""Projection heads: pooled features to the unit vectors that are contrasted."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mcl.losses.numerics import l2_normalize


class ProjectionHead(nn.Module):
    """Linear, ReLU, Linear, L2 normalization.

    Args:
        width: width of the features.
        dim: width of the hidden layer and of the embedding.
    """

    def __init__(self, width: int, dim: int = 128):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, width) to embeddings (B, dim) of length 1."""
        return l2_normalize(self.layers(features))


class PerStage(nn.ModuleList):
    """One module for each of a network's S stages."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map S features (B, width) to (S, B, dim), each with its own module."""
        return torch.stack([module(stage) for module, stage in zip(self, features, strict=True)])
