"""ONE: branches learn from their gated ensemble (Lan et al., NeurIPS 2018, arXiv 1806.04606)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.losses.base import Weights
from mcl.losses.distillation import kl_divergence
from mcl.losses.forms import SMOOTHING, Form, FormLoss, last_logits
from mcl.losses.ramps import Sigmoid
from mcl.types import Batch, NetworkShape, Outputs


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


class ONE(FormLoss):
    """Classification of the branches and of their gated ensemble, and the divergence of the branches from it.

    Args:
        shapes: per network, its sizes. The networks share their first stages; the gate reads the map at the fork.
        weights: factor of each term; None: 1, the divergence with the ramp of the form.
        form: ``paper``: as the authors' code, with a ramp of 80 epochs and smoothed targets. ``mcl_okd``: without
            either. ``okddip_repo``: as ``paper``, with a bug.
        temperature: T; None: that of the form.
        reproduce_official_bug: as in ``okddip_repo``, do not detach the ensemble.

    Raises:
        UserError: As in `FormLoss`, or no stage is shared by all networks.
    """

    needs_maps = True
    minimum_networks = 2
    forms: ClassVar[Mapping[str, Form]] = {
        "paper": Form(3.0, {"distillation": Sigmoid()}, SMOOTHING),
        "mcl_okd": Form(3.0),
        "okddip_repo": Form(3.0, {"distillation": Sigmoid()}, SMOOTHING, has_bug=True),
    }

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        form: str = "paper",
        temperature: float | None = None,
        reproduce_official_bug: bool = False,
    ):
        super().__init__(
            shapes=shapes,
            weights=weights,
            form=form,
            temperature=temperature,
            reproduce_official_bug=reproduce_official_bug,
        )
        self.fork = shapes[0].shared - 1  # the stage whose map the gate reads
        if self.fork < 0:
            raise UserError(
                "loss=one weighs branches at the fork of a shared stem, and no stage is shared by all networks:"
                " give pair.shared_stages=2."
            )
        self.gate = Gate(shapes[0].channels[self.fork], len(shapes))

    def ensemble(self, outputs: Sequence[Outputs]) -> Tensor:
        return gated(last_logits(outputs), self.gate(outputs[0].maps[self.fork]))

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits, ensemble = last_logits(outputs), self.ensemble(outputs)
        options = {"temperature": self.temperature, "epsilon": self.epsilon}
        return {
            "classification": self.classification([*logits, ensemble], batch),
            "distillation": divergence(logits, ensemble, **options, detach=not self.reproduce_official_bug),
        }
