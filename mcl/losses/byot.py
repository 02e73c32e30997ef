"""BYOT: side heads learn from the last classifier of their own network (ICCV 2019, arXiv 1905.08094)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mcl import distributed
from mcl.errors import UserError
from mcl.losses.base import Weights
from mcl.losses.forms import Form, FormLoss, last_logits
from mcl.losses.numerics import full_precision
from mcl.types import Batch, NetworkShape, Outputs


def soft_cross_entropy(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return T² times the cross-entropy between softened predictions, averaged over the batch.

    Args:
        student: logits (B, C).
        teacher: logits (B, C); detached here.
        temperature: T.
    """
    target = (full_precision(teacher.detach()) / temperature).softmax(-1)
    log_probabilities = (full_precision(student) / temperature).log_softmax(-1)
    return -(temperature**2) * (target * log_probabilities).sum(-1).mean()


def feature_distance(feature: Tensor, target: Tensor) -> Tensor:
    """Return the squared distance, summed over the batch, where one of the two is positive.

    Args:
        feature: (B, width) of a side head.
        target: (B, width) of the backbone; detached here.
    """
    feature, target = full_precision(feature), full_precision(target.detach())
    return ((feature - target).square() * ((feature > 0) | (target > 0))).sum()


class BYOT(FormLoss):
    """Classification; side heads learn the predictions and the features of the backbone. Networks learn alone.

    Args:
        shapes: per network, its sizes; the branches of the networks are the side heads.
        weights: factor of each term; None: that of the form.
        form: ``paper``: the feature term is a sum of squares, which grows with the batch; its weight is for 128 images.
            ``scan``: the same with the weights of the authors' SCAN code. ``journal``: the authors' later code: soft
            targets without T², and the norm of the difference of linearly adapted features, for all side heads but the
            first.
        temperature: T; None: that of the form.
        reproduce_official_bug: weigh the classification of the backbone as that of the side heads (``paper``), or leave
            the feature term of the last side head out instead of the first (``journal``).

    Raises:
        UserError: As in `FormLoss`, or the stages of a network have features of several widths, which only ``journal``
            takes.
    """

    terms = ("classification", "branch_classification", "distillation", "feature")
    needs_branches = True
    forms: ClassVar[Mapping[str, Form]] = {
        "paper": Form(3.0, {"branch_classification": 0.9, "distillation": 0.1, "feature": 1e-6}, has_bug=True),
        "scan": Form(3.0, {"branch_classification": 0.5, "distillation": 0.5, "feature": 5e-7}),
        "journal": Form(3.0, {"branch_classification": 0.7, "distillation": 0.3, "feature": 0.03}, has_bug=True),
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
        if form == "paper" and reproduce_official_bug and (weights or {}).get("classification") is None:
            self.weights["classification"] = self.weights["branch_classification"]
        adapted = slice(None, -2) if reproduce_official_bug else slice(1, -1)
        sizes = [shape.widths if form == "journal" else [] for shape in shapes]
        self.adaptations = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, widths[-1]) for width in widths[adapted]) for widths in sizes
        )
        for widths in (shape.widths for shape in shapes):
            if form != "journal" and len(set(widths)) > 1:
                raise UserError(
                    f"loss.form={form}: BYOT compares the features of side heads with those of the backbone, and their"
                    f" widths differ: {', '.join(map(str, widths))}. Give pair.NETWORK.branches=byot, or"
                    " loss.form=journal."
                )

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        heads = [logits for network in outputs for logits in network.logits[:-1]]
        soft = [
            soft_cross_entropy(logits, network.logits[-1], temperature=self.temperature)
            for network in outputs
            for logits in network.logits[:-1]
        ]
        if self.form != "journal":
            # A sum over the batch: the mean over processes of what each adds is that of the whole batch.
            images = len(batch.labels) * distributed.world_size() if batch.whole is None else batch.whole
            features = [
                feature_distance(feature, network.features[-1]) * (images / len(batch.labels))
                for network in outputs
                for feature in network.features[:-1]
            ]
        else:
            soft = [value / self.temperature**2 for value in soft]
            features = [self._norm(*pair) for pair in zip(self.adaptations, outputs, strict=True)]
        return {
            "classification": self.classification(last_logits(outputs), batch),
            "branch_classification": self.classification(heads, batch),
            "distillation": torch.stack(soft).sum(),
            "feature": torch.stack(features).sum(),
        }

    def _norm(self, adaptations: nn.Module, network: Outputs) -> Tensor:
        """Return the sum over side heads of the norm of the difference to the backbone's features, over the batch."""
        heads = network.features[:-2] if self.reproduce_official_bug else network.features[1:-1]
        target = network.features[-1].detach()
        norms = [
            distributed.gather(adapt(feature) - target).norm()
            for adapt, feature in zip(adaptations.children(), heads, strict=True)
        ]
        return torch.stack([target.new_zeros(()), *norms]).sum()
