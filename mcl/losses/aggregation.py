"""Aggregated logits: the stages of one network, weighted per sample."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Aggregator(nn.Module):
    """The softmax-weighted sum of the logits of a network's stages (L-MCL, TPAMI 2023).

    The weights come from the concatenated features of all stages through Linear, ReLU, Linear.

    Args:
        width: of each stage's features.
        stages: number of stages.
    """

    def __init__(self, width: int, stages: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(stages * width, width), nn.ReLU(), nn.Linear(width, stages))

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """S times (B, width) and S times (B, classes) to (B, classes)."""
        weights = self.layers(torch.cat(list(features), dim=1)).softmax(1)  # (B, S)
        return (weights[:, :, None] * torch.stack(list(logits), dim=1)).sum(1)
