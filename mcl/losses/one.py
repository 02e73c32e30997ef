"""ONE: branches learn from their gated ensemble (Lan et al., NeurIPS 2018, arXiv 1806.04606)."""

import torch
from torch import Tensor, nn

from mcl.losses.distillation import kl_divergence


class Gate(nn.Module):
    """Weigh the branches for each image: global average pooling, linear, batch normalization, ReLU, softmax.

    Args:
        channels: channels of the map at the fork.
        branches: number of branches.
    """

    def __init__(self, channels: int, branches: int):
        super().__init__()
        self.linear = nn.Linear(channels, branches)
        self.bn = nn.BatchNorm1d(branches)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, channels, H, W) to weights (B, branches) that sum to 1."""
        return self.bn(self.linear(maps.mean((-2, -1)))).relu().softmax(-1)


def gated(logits: Tensor, gate: Tensor) -> Tensor:
    """Return the sum of the branches' logits (N, B, C), weighted by ``gate`` (B, N)."""
    return torch.einsum("bn,nbc->bc", gate, logits)


def divergence(
    logits: Tensor, ensemble: Tensor, *, temperature: float, epsilon: float = 0.0, detach: bool = True
) -> Tensor:
    """Return the divergence of each branch from the ensemble, averaged over the batch and summed over branches.

    Args:
        logits: (N, B, C) of the branches.
        ensemble: (B, C) of the ensemble.
        temperature: T; the factor T² is included.
        epsilon: added to the ensemble's probabilities; 1e-7 in the authors' code.
        detach: detach the ensemble.
    """
    teacher = ensemble.detach() if detach else ensemble
    return kl_divergence(teacher, logits, temperature=temperature, epsilon=epsilon)
