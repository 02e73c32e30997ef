"""The objectives of L-MCL on the modules of a learner, composed from `mcl.reference.formulas`."""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.networks.cohort import Cohort
from mcl.reference import formulas
from mcl.types import Batch, Outputs


class TextbookLMCL(nn.Module):
    """Networks and loss as one module; each objective is a forward pass, followed by loops over the outputs.

    Its parameters have the same names as in `mcl.training.learner.Learner`.

    Args:
        cohort: the networks.
        loss: supplies the heads, aggregators, matching and weights, but no formula of a term.
    """

    def __init__(self, cohort: Cohort, loss: LMCL):
        super().__init__()
        self.cohort = cohort
        self.loss = loss

    def forward(self, objective: str, batch: Batch) -> Tensor:
        """Return one of the two objectives of the meta round, ``inner`` or ``outer``."""
        outputs = self.cohort(batch.images)
        if objective == "outer":
            return formulas.classification([network.logits for network in outputs], batch.labels)
        return self.loss.total(self._contrast(outputs, batch.labels, self._queries(outputs)))

    def terms(self, batch: Batch) -> tuple[dict[str, Tensor], list[Outputs]]:
        """Return the raw terms of a training step, and the outputs of every network."""
        outputs = self.cohort(batch.images)
        pairs = zip(self.loss.aggregators, outputs, strict=True)
        aggregated = [aggregator(network.features, network.logits) for aggregator, network in pairs]
        with torch.no_grad():
            queries = self._queries(outputs)
        students = [network.logits[-1] for network in outputs]
        terms = {
            "classification": formulas.classification([network.logits for network in outputs], batch.labels)
            + formulas.classification([aggregated], batch.labels),
            "distillation": formulas.logit_distillation(students, aggregated, temperature=self.loss.temperature),
            **self._contrast(outputs, batch.labels, queries),
        }
        return terms, outputs

    def _contrast(
        self, outputs: Sequence[Outputs], labels: Tensor, queries: Sequence[Sequence[Tensor]]
    ) -> dict[str, Tensor]:
        projections = [
            [F.normalize(head.layers(features), dim=1) for head, features in zip(heads, network.features, strict=True)]
            for heads, network in zip(cast(Any, self.loss.heads), outputs, strict=True)
        ]
        return formulas.mutual_contrast(
            projections,
            labels,
            lambda i, k, j, m: formulas.matching_weight(queries[i][k], queries[j][m]),
            tau=self.loss.tau,
            temperature=self.loss.temperature,
        )._asdict()

    def _queries(self, outputs: Sequence[Outputs]) -> list[list[Tensor]]:
        """Return the (B, dim) matching projections, per network and stage."""
        assert isinstance(self.loss.matching, LayerMatching)
        return [
            [linear(features) for linear, features in zip(linears, network.features, strict=True)]
            for linears, network in zip(cast(Any, self.loss.matching.projections), outputs, strict=True)
        ]
