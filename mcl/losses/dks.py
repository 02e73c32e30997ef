"""DKS: every head of a network learns from every other (CVPR 2019, arXiv 1906.00675)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mcl.losses.base import Weights, stage_logits
from mcl.losses.distillation import divergence_of_all_pairs, logit_distillation
from mcl.losses.forms import Form, FormLoss
from mcl.losses.numerics import full_precision
from mcl.types import Batch, NetworkShape, Outputs


def synergy(logits: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Return the divergence of each head from each other, averaged over the batch and summed over ordered pairs.

    Args:
        logits: (N, B, C); detached as teachers.
        epsilon: added to all probabilities, which are then normalized again: the divergence is bounded.
    """
    probabilities = full_precision(logits).softmax(-1)
    smoothed = ((probabilities + epsilon) / (1 + logits.shape[-1] * epsilon)).log()
    # Each head's divergence from itself, included here, is 0 and has no gradient.
    return divergence_of_all_pairs(smoothed.detach(), smoothed) / logits.shape[1]


class DKS(FormLoss):
    """Classification of all heads of a network, and the divergence of each from each other. Networks learn alone.

    Args:
        shapes: unused; the branches of the networks are the auxiliary heads.
        weights: factor of each term; None: 1.
        form: ``paper``: smoothed probabilities, T = 1. ``self_kd_lib``: KL divergences with T = 4.
        temperature: T of ``self_kd_lib``; None: 4.

    Raises:
        UserError: As in `FormLoss`.
    """

    terms = ("classification", "synergy")
    needs_branches = True
    forms: ClassVar[Mapping[str, Form]] = {"paper": Form(None), "self_kd_lib": Form(4.0)}

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        form: str = "paper",
        temperature: float | None = None,
    ):
        super().__init__(shapes=shapes, weights=weights, form=form, temperature=temperature)

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        terms = torch.stack([self._synergy(network.logits) for network in outputs])
        return {"classification": self.classification(stage_logits(outputs), batch), "synergy": terms.sum()}

    def _synergy(self, heads: Sequence[Tensor]) -> Tensor:
        if self.form == "paper":
            return synergy(torch.stack(list(heads)))
        return logit_distillation(heads, heads, temperature=self.temperature)
