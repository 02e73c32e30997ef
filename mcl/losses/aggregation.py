"""Aggregated logits: the logits of a network's stages, weighted per sample (L-MCL, arXiv 2207.11518).

a = sum over stages k of softmax(MLP([f_1, ..., f_S]))_k * l_k, with features f_k and logits l_k.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Aggregator(nn.Module):
    """The softmax-weighted sum of the logits of a network's stages.

    Args:
        width: width of each stage's features, and of the hidden layer.
        stages: number of stages S.
        inputs: width of the features of all stages together, if they differ in width; None: S times ``width``.
    """

    def __init__(self, width: int, stages: int, *, inputs: int | None = None):
        super().__init__()
        inputs = stages * width if inputs is None else inputs
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, stages))

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Combine S features (B, width) and S logits (B, C) into logits (B, C)."""
        weights = self.layers(torch.cat(list(features), dim=1)).softmax(1)  # (B, S)
        return (weights[:, :, None] * torch.stack(list(logits), dim=1)).sum(1)
