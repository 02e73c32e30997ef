"""MCL: mutual contrastive learning of the networks' last stages (AAAI 2022, arXiv 2104.12565).

L = CE + 0.1 VCL + soft VCL + 0.1 ICL + soft ICL, summed over networks and pairs of networks.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from mcl.losses.base import Weights
from mcl.losses.contrast import check_temperatures, last_stage_contrast
from mcl.losses.contrast_sources import gather_batch, rare_positives
from mcl.losses.direction import detach_teachers
from mcl.losses.distillation import mean_logit_distillation
from mcl.losses.mutual_loss import MutualLoss
from mcl.losses.ramps import Ramp
from mcl.types import Batch, Outputs


class MCL(MutualLoss):
    """Classification and mutual contrast of the backbones: no branches, no meta round.

    Args:
        widths: per network, per stage, the width of its features. Only the last stage is used.
        weights: factor of each term in the sum; for those left out 0.1 for vcl and icl, 0 for distillation, else 1.
            ``distillation`` draws each network to the mean logits of all; with factor 0 it is not computed.
        tau, temperature, dim, direction, head_weight_decay: as in `MutualLoss`.
        gather: contrast the samples of all processes; otherwise each process contrasts its own.

    Raises:
        UserError: As in `MutualLoss`, or the temperatures are too low for float64.
    """

    default_weights: ClassVar[Mapping[str, float | Ramp]] = {**MutualLoss.default_weights, "distillation": 0.0}

    def __init__(
        self,
        *,
        widths: list[list[int]],
        weights: Weights | None = None,
        tau: float = 0.1,
        temperature: float = 3.0,
        dim: int = 128,
        gather: bool = True,
        direction: str = "mutual",
        head_weight_decay: float | None = None,
    ):
        super().__init__(
            [stages[-1:] for stages in widths], weights, tau, temperature, dim, direction, head_weight_decay
        )
        check_temperatures(tau, temperature)
        self.gather = gather

    def notes(self, counts: Sequence[int], positives: float | None) -> list[str]:
        return rare_positives(positives)

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits = [network.logits[-1] for network in outputs]
        features = detach_teachers([network.features[-1:] for network in outputs], self.learners)
        embeddings = [heads(stages) for heads, stages in zip(self.heads, features, strict=True)]
        labels = batch.labels
        if self.gather:
            embeddings, (labels,) = gather_batch(embeddings, [labels])
        last = [network[0] for network in embeddings]
        contrast = last_stage_contrast(last, labels, tau=self.tau, temperature=self.temperature)
        terms = {"classification": self.classification(logits, batch), **contrast._asdict()}
        if self.weights["distillation"] or "distillation" in self.ramps:  # the terms are the same in every epoch
            terms["distillation"] = mean_logit_distillation(
                logits, temperature=self.temperature, learners=self.learners
            )
        return terms
