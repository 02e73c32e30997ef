"""PCL: peer collaborative learning from an ensemble classifier and averaged peers (AAAI 2021, arXiv 2006.04147)."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.losses.base import Weights, running_decay
from mcl.losses.distillation import kl_divergence, mean_divergence_from_others
from mcl.losses.forms import Form, FormLoss, last_logits
from mcl.losses.ramps import Ramp, Sigmoid
from mcl.types import Batch, NetworkShape, Outputs


def ema_decay(step: int) -> float:
    """Return the decay of the averaged networks after step ``step``, from 0: min(1 - 1 / (step + 1), 0.999)."""
    return running_decay(step, 0.999)


class OfficialRamp(Ramp):
    """The ramp of the public re-implementation, which divides by 1, not by its length: exp(-5 (1 - epoch)²), then 1."""

    def __call__(self, epoch: int) -> float:
        return self.weight * (math.exp(-5 * (1 - epoch) ** 2) if epoch <= self.length else 1.0)


class PCL(FormLoss):
    """Classification of peers and of an ensemble classifier; divergences from it and from the averaged other peers.

    Args:
        shapes: per network, its sizes; the ensemble classifier reads the features of all.
        weights: factor of each term; None: 1, the divergences with a ramp of 80 epochs.
        temperature: T.
        reproduce_official_bug: use the ramp of the re-implementation: almost 0 until epoch 80, except in epoch 1.

    Raises:
        UserError: As in `FormLoss`; in a forward pass, the outputs of the averaged networks are missing.
    """

    terms = ("classification", "ensemble_distillation", "teacher_distillation")
    minimum_networks = 2
    needs_ema = True
    separate_views = True
    forms: ClassVar[Mapping[str, Form]] = {"paper": Form(3.0, has_bug=True)}

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        temperature: float = 3.0,
        reproduce_official_bug: bool = False,
    ):
        ramp = OfficialRamp() if reproduce_official_bug else Sigmoid()
        given = {name: weight for name, weight in (weights or {}).items() if weight is not None}
        given = dict.fromkeys(self.terms[1:], ramp) | given
        super().__init__(
            shapes=shapes, weights=given, temperature=temperature, reproduce_official_bug=reproduce_official_bug
        )
        self.classifier = nn.Linear(sum(shape.widths[-1] for shape in shapes), shapes[0].num_classes)

    def deployed(self, shapes: Sequence[NetworkShape]) -> list[int]:
        return [0]

    def joint_logits(self, outputs: Sequence[Outputs]) -> Tensor:
        """Return the logits (B, C) of the ensemble classifier."""
        return self.classifier(torch.cat([network.features[-1] for network in outputs], dim=1))

    def forward(
        self, outputs: Sequence[Outputs], batch: Batch, teachers: Sequence[Outputs] | None = None
    ) -> dict[str, Tensor]:
        if teachers is None:
            raise UserError("loss=pcl needs the outputs of averaged networks as teachers.")
        logits, ensemble, averaged = last_logits(outputs), self.joint_logits(outputs), last_logits(teachers)
        return {
            "classification": self.classification([*logits, ensemble], batch),
            "ensemble_distillation": kl_divergence(ensemble.detach(), logits, temperature=self.temperature),
            "teacher_distillation": mean_divergence_from_others(averaged, logits, temperature=self.temperature),
        }
