"""Distillation of logits between the networks of a cohort: T² KL(softmax(teacher / T) ‖ softmax(student / T))."""

from collections.abc import Sequence

import torch
from torch import Tensor


def logit_distillation(students: Sequence[Tensor], teachers: Sequence[Tensor], *, temperature: float) -> Tensor:
    """Return the divergence of each student from each teacher, averaged over the batch and summed over all pairs.

    In L-MCL (arXiv 2207.11518) the students are the backbones and the teachers are the aggregated logits of all
    networks, a student's own included.

    Args:
        students: one (B, C) per student.
        teachers: one (B, C) per teacher; detached here.
        temperature: T.
    """
    student = (torch.stack(list(students)) / temperature).log_softmax(-1)  # (N, B, C)
    teacher = (torch.stack(list(teachers)).detach() / temperature).log_softmax(-1)
    target = teacher.exp()
    # A KL divergence is linear in the target and in the student's log-probabilities, so both are summed first.
    negentropy = len(students) * (target * teacher).sum()
    divergence = negentropy - (target.sum(0) * student.sum(0)).sum()
    return temperature**2 * divergence / student.shape[1]


def mean_logit_distillation(logits: Sequence[Tensor], *, temperature: float) -> Tensor:
    """Distil the detached mean of all networks' logits, one (B, C) each, into each network (an option of MCL)."""
    return logit_distillation(logits, [torch.stack(list(logits)).mean(0)], temperature=temperature)
