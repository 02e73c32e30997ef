"""OKDDip: peers learn from attentive mixtures of themselves, a leader from the peers (AAAI 2020, arXiv 1912.00350)."""

import torch
from torch import Tensor, nn

from mcl.losses.distillation import kl_divergence


class Attention(nn.Module):
    """Attention of each peer to all peers, for each image: softmax over peers of the inner products query · key.

    Args:
        width: width of the peers' features; queries and keys have an eighth of it.
    """

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Linear(width, width // 8, bias=False)
        self.key = nn.Linear(width, width // 8, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map the peers' features (P, B, width) to weights (B, P, P); row a is the attention of peer a."""
        query, key = self.query(features).movedim(0, 1), self.key(features).movedim(0, 1)  # (B, P, width // 8)
        return (query @ key.mT).softmax(-1)


def mixtures(logits: Tensor, attention: Tensor) -> Tensor:
    """Return the mixtures of the peers' logits (P, B, C) that ``attention`` (B, P, P) describes, one for each peer."""
    return torch.einsum("bpq,qbc->pbc", attention, logits)


def divergences(
    logits: Tensor,
    attention: Tensor,
    *,
    temperature: float,
    epsilon: float = 0.0,
    detach_leader_target: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the divergence of the peers from their mixtures, summed over peers, and of the leader from their mean.

    Args:
        logits: (P + 1, B, C), the leader last. No target is detached: through them the attention learns.
        attention: (B, P, P) of the peers.
        temperature: T; the factor T² is included.
        epsilon: added to the probabilities of the targets; 1e-7 in the authors' code.
        detach_leader_target: keep the divergence of the leader from moving the peers.
    """
    peers, leader = logits[:-1], logits[-1]
    mean = peers.mean(0)
    return (
        kl_divergence(mixtures(peers, attention), peers, temperature=temperature, epsilon=epsilon),
        kl_divergence(
            mean.detach() if detach_leader_target else mean, leader, temperature=temperature, epsilon=epsilon
        ),
    )
