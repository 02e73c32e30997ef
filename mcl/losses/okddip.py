"""OKDDip: peers learn from attentive mixtures of themselves, a leader from the peers (AAAI 2020, arXiv 1912.00350)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.losses.base import Weights
from mcl.losses.distillation import kl_divergence
from mcl.losses.forms import SMOOTHING, Form, FormLoss
from mcl.losses.ramps import Sigmoid
from mcl.types import Batch, NetworkShape, Outputs


class Attention(nn.Module):
    """Attention of each peer to all peers, for each image: softmax over peers of the inner products query · key.

    Args:
        width: width of the peers' features; queries and keys have an eighth of it, at least 1.
    """

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Linear(width, max(1, width // 8), bias=False)
        self.key = nn.Linear(width, max(1, width // 8), bias=False)

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


class OKDDip(FormLoss):
    """Classification; the divergence of the peers from their attentive mixtures, and of the leader from their mean.

    Args:
        shapes: per network, its sizes; the peers have features of one width.
        weights: factor of each term; None: 1, the divergences with a ramp of 80 epochs.
        form: ``paper``: as the authors' code, with smoothed targets. ``mcl_okd``: without.
        temperature: T; None: that of the form.
        leader: index of the network that is deployed; -1: the last.
        detach_leader_target: keep the divergence of the leader from moving the peers, which the official codes do not.

    Raises:
        UserError: As in `FormLoss`, or no network has the index ``leader``, or the peers have features of several
            widths.
    """

    terms = ("classification", "distillation", "leader_distillation")
    minimum_networks = 3
    forms: ClassVar[Mapping[str, Form]] = {
        "paper": Form(3.0, {"distillation": Sigmoid(), "leader_distillation": Sigmoid()}, SMOOTHING),
        "mcl_okd": Form(3.0, {"distillation": Sigmoid(), "leader_distillation": Sigmoid()}),
    }

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        form: str = "paper",
        temperature: float | None = None,
        leader: int = -1,
        detach_leader_target: bool = False,
    ):
        super().__init__(shapes=shapes, weights=weights, form=form, temperature=temperature)
        networks = len(shapes)
        if not -networks <= leader < networks:
            raise UserError(f"loss.leader={leader}: the networks have the indices 0 to {networks - 1}; -1 is the last.")
        self.leader = leader % networks
        self.order = [*(i for i in range(networks) if i != self.leader), self.leader]
        widths = sorted({shapes[i].widths[-1] for i in self.order[:-1]})
        if len(widths) > 1:
            raise UserError(
                f"loss=okddip compares the features of the peers, and their widths differ: {widths}. Choose peers of"
                " one architecture; the leader (loss.leader) may be another."
            )
        self.attention = Attention(widths[0])
        self.detach_leader_target = detach_leader_target

    def deployed(self, shapes: Sequence[NetworkShape]) -> list[int]:
        return [self.leader]

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        ordered = [outputs[i] for i in self.order]
        logits = torch.stack([network.logits[-1] for network in ordered])
        attention = self.attention(torch.stack([network.features[-1] for network in ordered[:-1]]))
        options = {"temperature": self.temperature, "epsilon": self.epsilon}
        peers, leader = divergences(logits, attention, **options, detach_leader_target=self.detach_leader_target)
        terms = {"distillation": peers, "leader_distillation": leader}
        return {"classification": self.classification(logits, batch), **terms}
