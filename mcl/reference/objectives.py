"""The objectives of L-MCL on the modules of a learner, put together from `mcl.reference.formulas`."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.networks.cohort import Cohort
from mcl.reference import formulas as textbook
from mcl.types import Batch, Outputs


class TextbookLMCL(nn.Module):
    """Networks and loss as one module, each objective of which is a forward pass and loops over what came out.

    Its parameters have the names that they have in `mcl.training.learner.Learner`.

    Args:
        cohort: the networks.
        loss: of which the heads, aggregators, matching and settings are used, and no formula.
    """

    def __init__(self, cohort: Cohort, loss: LMCL):
        super().__init__()
        self.cohort = cohort
        self.loss = loss

    def forward(self, objective: str, batch: Batch) -> Tensor:
        """One of the two objectives of the meta round, ``inner`` or ``outer``."""
        outputs = self.cohort(batch.images)
        if objective == "outer":
            return textbook.classification([network.logits for network in outputs], batch.labels)
        return self.total(self._contrast(outputs, batch.labels, self._matching(outputs)))

    def terms(self, batch: Batch) -> tuple[dict[str, Tensor], list[Outputs]]:
        """The raw terms of a training step, and what every network said."""
        outputs = self.cohort(batch.images)
        aggregated = []
        for aggregator, network in zip(self.loss.aggregators, outputs, strict=True):
            aggregated.append(aggregator(network.features, network.logits))
        students = [network.logits[-1] for network in outputs]
        with torch.no_grad():
            queries = self._matching(outputs)
        terms = {
            "classification": textbook.classification([network.logits for network in outputs], batch.labels)
            + textbook.classification([aggregated], batch.labels),
            "distillation": textbook.logit_distillation(students, aggregated, temperature=self.loss.temperature),
            **self._contrast(outputs, batch.labels, queries),
        }
        return terms, outputs

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of raw terms."""
        total = torch.zeros_like(next(iter(terms.values())))
        for name, value in terms.items():
            total = total + self.loss.weights[name] * value
        return total

    def _contrast(
        self, outputs: Sequence[Outputs], labels: Tensor, queries: Sequence[Sequence[Tensor]]
    ) -> dict[str, Tensor]:
        projections = []
        for heads, network in zip(_per_stage(self.loss.heads), outputs, strict=True):
            hidden = [head.layers(features) for head, features in zip(heads, network.features, strict=True)]
            projections.append([F.normalize(stage, dim=1) for stage in hidden])
        return textbook.mutual_contrast(
            projections,
            labels,
            lambda i, k, j, m: textbook.matching_weight(queries[i][k], queries[j][m]),
            tau=self.loss.tau,
            temperature=self.loss.temperature,
        )._asdict()

    def _matching(self, outputs: Sequence[Outputs]) -> list[list[Tensor]]:
        """Per network, per stage, the (B, dim) matching projections."""
        assert isinstance(self.loss.matching, LayerMatching)
        return [
            [linear(features) for linear, features in zip(linears, network.features, strict=True)]
            for linears, network in zip(_per_stage(self.loss.matching.projections), outputs, strict=True)
        ]


def _per_stage(modules: nn.ModuleList) -> list[list[Any]]:
    """Per network, per stage, a module."""
    return [list(stages) for stages in modules if isinstance(stages, nn.ModuleList)]
