"""DML: deep mutual learning, each network from the predictions of each other (CVPR 2018, arXiv 1706.00384)."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import ClassVar

import torch
from torch import Tensor

from mcl.errors import UserError
from mcl.losses.base import Weights
from mcl.losses.direction import learners
from mcl.losses.distillation import kl_divergence, logit_distillation, mean_of_others
from mcl.losses.forms import SMOOTHING, Form, FormLoss, last_logits
from mcl.losses.numerics import full_precision
from mcl.types import Batch, NetworkShape, Outputs


def mutual_divergence(logits: Tensor, *, temperature: float, learners: slice = slice(None)) -> Tensor:
    """Return the divergence of each network from the others: sum over networks, mean over the others and the batch.

    Args:
        logits: (N, B, C); detached as teachers.
        temperature: T; the factor T² is included.
        learners: the networks that learn.
    """
    logits = full_precision(logits)
    # Each network's divergence from itself, included here, is 0 and has no gradient.
    return logit_distillation(list(logits)[learners], list(logits), temperature=temperature) / max(len(logits) - 1, 1)


def smoothed_divergence(logits: Tensor, *, epsilon: float = 1e-8, learners: slice = slice(None)) -> Tensor:
    """Return the divergence of the authors' code: the sum over all ordered pairs of q log(ε + q / (p + ε)).

    Args:
        logits: (N, B, C); detached as teachers q.
        epsilon: ε.
        learners: the networks that learn.
    """
    probabilities = full_precision(logits).softmax(-1)
    teachers, students = probabilities.detach()[None], probabilities[:, None] + epsilon  # (1, N, B, C), (N, 1, B, C)
    divergence = (teachers * (epsilon + teachers / students).log()).sum(-1).mean(-1)  # (N, N): student, teacher
    return divergence[learners].sum() - divergence.diagonal()[learners].sum()


class DML(FormLoss):
    """Classification, and the divergence of each network from each other.

    Args:
        shapes: unused; the networks need no modules.
        weights: factor of each term; None: 1.
        form: ``paper``: the mean over the other networks, T = 1. ``mcl_okd``: the same with T = 2. ``authors``: their
            code, the sum over the others, smoothed. ``okddip_repo``: from the mean logits of the others, T = 3,
            smoothed; ``okddip_repo_pairs``: from each other, likewise.
        temperature: T; None: that of the form.
        reproduce_official_bug: as in both forms of ``okddip_repo``, do not detach the targets.
        direction: ``mutual``: all networks learn from each other; ``one_way``: the first one alone from the others,
            which learn from the labels.

    Raises:
        UserError: As in `FormLoss`, or there is no such ``direction``, or it is ``one_way`` with
            ``reproduce_official_bug``.
    """

    minimum_networks = 2
    forms: ClassVar[Mapping[str, Form]] = {
        "paper": Form(1.0),
        "mcl_okd": Form(2.0),
        "authors": Form(None),
        "okddip_repo": Form(3.0, epsilon=SMOOTHING, has_bug=True),
        "okddip_repo_pairs": Form(3.0, epsilon=SMOOTHING, has_bug=True),
    }

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        form: str = "paper",
        temperature: float | None = None,
        reproduce_official_bug: bool = False,
        direction: str = "mutual",
    ):
        super().__init__(
            shapes=shapes,
            weights=weights,
            form=form,
            temperature=temperature,
            reproduce_official_bug=reproduce_official_bug,
        )
        self.learners = learners(direction)
        if reproduce_official_bug and direction != "mutual":
            raise UserError(
                f"loss.direction={direction}: loss.reproduce_official_bug=true trains the teachers through the targets,"
                " so they learn too. Leave out one of the two."
            )

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits = last_logits(outputs)
        return {"classification": self.classification(logits, batch), "distillation": self._divergence(logits)}

    def _divergence(self, logits: Tensor) -> Tensor:
        if self.form == "authors":
            return smoothed_divergence(logits, learners=self.learners)
        if self.form in ("paper", "mcl_okd"):
            return mutual_divergence(logits, temperature=self.temperature, learners=self.learners)
        teachers = logits if self.reproduce_official_bug else logits.detach()
        options = {"temperature": self.temperature, "epsilon": self.epsilon}
        if self.form == "okddip_repo":
            return kl_divergence(mean_of_others(teachers)[self.learners], logits[self.learners], **options)
        learn = range(len(logits))[self.learners]
        pairs = [(i, j) for i, j in permutations(range(len(logits)), 2) if i in learn]
        divergences = [kl_divergence(teachers[j], logits[i], **options) for i, j in pairs]
        return torch.stack(divergences).sum() / (len(logits) - 1)
