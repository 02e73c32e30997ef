"""Distillation of logits between the networks of a cohort."""

from collections.abc import Sequence

import torch
from torch import Tensor


def logit_distillation(students: Sequence[Tensor], teachers: Sequence[Tensor], *, temperature: float) -> Tensor:
    """Each student towards each teacher: T² KL(softmax(teacher / T) ‖ softmax(student / T)), mean over the batch.

    Summed over all students and all teachers. In L-MCL (TPAMI 2023) the students are the backbones and the teachers
    the aggregated logits of all networks, a student's own included.

    Args:
        students: each (B, classes).
        teachers: each (B, classes); detached here.
        temperature: T.
    """
    student = (torch.stack(list(students)) / temperature).log_softmax(-1)  # (N, B, classes)
    teacher = (torch.stack(list(teachers)).detach() / temperature).log_softmax(-1)
    target = teacher.exp()
    # Summed over all pairs, a KL divergence is linear in the target and in the student's log-probabilities.
    negentropy = len(students) * (target * teacher).sum()
    divergence = negentropy - (target.sum(0) * student.sum(0)).sum()
    return temperature**2 * divergence / student.shape[1]


def mean_logit_distillation(logits: Sequence[Tensor], *, temperature: float) -> Tensor:
    """Each network towards the detached mean of all networks' logits (an option of MCL, AAAI 2022).

    Args:
        logits: N times (B, classes).
        temperature: softening of both sides.
    """
    return logit_distillation(logits, [torch.stack(list(logits)).mean(0)], temperature=temperature)
