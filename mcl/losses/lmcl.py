"""L-MCL: layer-wise mutual contrastive learning with learned matching weights (TPAMI 2023, arXiv 2207.11518).

A training step minimizes, over networks i, j and stages k, m,

    L = sum_ik CE(l_ik) + sum_i CE(a_i)                          classification; a_i are aggregated logits
      + sum_ij T² KL(softmax(a_j / T) ‖ softmax(l_iS / T))       distillation
      + sum_(i,k),(j,m) w (0.1 VCL + soft VCL + 0.1 ICL + soft ICL)   contrast of all nodes of different networks

with fixed matching weights w. The meta round learns them: the networks take SGD steps on the contrast alone
(``inner_objective``), and the classification that results (``outer_objective``) is differentiated back to w.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.losses.aggregation import Aggregator
from mcl.losses.base import MetaSchedule, Weights, stage_logits
from mcl.losses.contrast_sources import BatchContrast, Contrast
from mcl.losses.direction import detach_teachers
from mcl.losses.distillation import logit_distillation
from mcl.losses.mutual_loss import MutualLoss
from mcl.types import Batch, Outputs


class LMCL(MutualLoss):
    """Classification of all stages, distillation of aggregated logits, weighted contrast of all nodes.

    Args:
        widths: per network, per stage, the width of its features.
        matching: makes the module of matching weights from ``widths`` (see `mcl.losses.matching`).
        contrast: makes the module that contrasts embeddings (see `mcl.losses.contrast_sources`).
        meta: when and how the matching is learned. None keeps a learned matching at its initial weights, and is
            required for a fixed one.
        weights: factor of each term in the sum; for those left out 0.1 for vcl and icl, else 1.
        tau, temperature, dim, direction, head_weight_decay: as in `MutualLoss`.

    Raises:
        UserError: As in `MutualLoss`, or the temperatures are too low for the contrast, or ``meta`` is set and the
            matching has nothing to learn.
    """

    needs_branches = True
    training_state = ("contrast.",)

    def __init__(
        self,
        *,
        widths: list[list[int]],
        matching: Callable[[list[list[int]]], nn.Module],
        contrast: Callable[[], Contrast] = BatchContrast,
        meta: MetaSchedule | None,
        weights: Weights | None = None,
        tau: float = 0.1,
        temperature: float = 3.0,
        dim: int = 128,
        direction: str = "mutual",
        head_weight_decay: float | None = None,
    ):
        super().__init__(widths, weights, tau, temperature, dim, direction, head_weight_decay)
        self.aggregators = nn.ModuleList(Aggregator(each[-1], len(each), inputs=sum(each)) for each in widths)
        self.matching = matching(widths)
        self.contrast = contrast()
        self.contrast.check(tau, temperature)
        self.dim = dim
        self.meta = meta
        self._latest_weights: Tensor | None = None  # (G, G, B) of the last step, for `matching_means`
        if meta is not None and not self.meta_parameters():
            raise UserError(
                f"loss.meta is set, but {type(self.matching).__name__} has nothing to learn. "
                "Set loss.meta=null, or choose a learned matching: loss/matching=learned."
            )

    def prepare(self, labels: Tensor) -> None:
        self.contrast.prepare(labels, networks=len(self.heads), dim=self.dim)

    def notes(self, counts: Sequence[int], positives: float | None) -> list[str]:
        return self.contrast.notes(counts, positives)

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        aggregated = self.aggregate(outputs)
        with torch.no_grad():
            weights = self.matching([network.features for network in outputs])
        self._latest_weights = weights
        backbones = [network.logits[-1] for network in outputs][self.learners]
        embeddings = self._embed(outputs)
        terms = {
            "classification": self.classification([*stage_logits(outputs), *aggregated], batch),
            "distillation": logit_distillation(backbones, aggregated, temperature=self.temperature),
            **self._contrast(embeddings, batch, weights),
        }
        if self.training:
            self.contrast.update([network.detach() for network in embeddings], batch)
        return terms

    def aggregate(self, outputs: Sequence[Outputs]) -> list[Tensor]:
        pairs = zip(self.aggregators, outputs, strict=True)
        return [aggregator(network.features, network.logits) for aggregator, network in pairs]

    def matching_means(self) -> Tensor | None:
        if self._latest_weights is None or next(self.matching.parameters(), None) is None:
            return None
        return self._latest_weights.mean(-1)

    def static_buffers(self) -> set[str]:
        return {name for name, _ in self.named_buffers() if name.startswith("contrast.")}

    def inner_parameters(self) -> dict[str, nn.Parameter]:
        return {f"heads.{name}": value for name, value in self.heads.named_parameters()}

    def meta_parameters(self) -> dict[str, nn.Parameter]:
        return {f"matching.{name}": value for name, value in self.matching.named_parameters()}

    def inner_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        assert self.meta is not None, "nothing is meta-learned"
        # Networks that only teach take no part in the unrolled steps, through the weights either.
        learning = self.learners if self.meta.attach_features else slice(0)
        features = detach_teachers([network.features for network in outputs], learning)
        return self.total(self._contrast(self._embed(outputs), batch, self.matching(features)))

    def outer_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        return self.classification(stage_logits(outputs), batch)

    def _embed(self, outputs: Sequence[Outputs]) -> list[Tensor]:
        """Return the embeddings of each network, (S_i, B, dim)."""
        features = detach_teachers([network.features for network in outputs], self.learners)
        return [heads(stages) for heads, stages in zip(self.heads, features, strict=True)]

    def _contrast(self, embeddings: Sequence[Tensor], batch: Batch, weights: Tensor) -> dict[str, Tensor]:
        return self.contrast(embeddings, batch, weights, tau=self.tau, temperature=self.temperature)._asdict()
