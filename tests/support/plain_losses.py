"""Losses of logits as loops over images and classes, to compare with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mcl.types import Batch, Outputs


def probabilities(logits: Tensor, temperature: float = 1.0) -> list[Tensor]:
    """Return the softmax of the logits (C,) of one image, class by class."""
    powers = [(logit / temperature).exp() for logit in logits]
    return [power / sum(powers) for power in powers]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, C)."""
    losses = [-probabilities(image)[label].log() for image, label in zip(logits, labels.tolist(), strict=True)]
    return torch.stack(losses).sum() / len(losses)


def divergence(teacher: Tensor, student: Tensor, temperature: float, *, epsilon: float = 0.0) -> Tensor:
    """Return T² KL(teacher ‖ student) of logits (B, C), averaged over the batch; the teacher is detached.

    Args:
        teacher, student: logits (B, C).
        temperature: T.
        epsilon: added to the teacher's probabilities.
    """
    terms = []
    for teacher_of_image, student_of_image in zip(teacher.detach(), student, strict=True):
        ps = [p + epsilon for p in probabilities(teacher_of_image, temperature)]
        qs = probabilities(student_of_image, temperature)
        terms += [p * (p.log() - q.log()) for p, q in zip(ps, qs, strict=True)]
    return temperature**2 * torch.stack(terms).sum() / len(teacher)


def outputs_of(logits: Sequence[Tensor] | Tensor) -> list[Outputs]:
    """Return the outputs of networks that have these logits and nothing else."""
    return [Outputs([], [each]) for each in logits]


def batch_of(labels: Tensor) -> Batch:
    """Return a batch with these labels, without images."""
    return Batch(torch.empty(0), labels, torch.arange(len(labels)))
