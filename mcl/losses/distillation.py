"""Distillation of logits between the networks of a cohort: T² KL(softmax(teacher / T) ‖ softmax(student / T))."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mcl.losses.numerics import full_precision


def kl_divergence(teacher: Tensor, student: Tensor, *, temperature: float, epsilon: float = 0.0) -> Tensor:
    """Return T² KL(softmax(teacher / T) ‖ softmax(student / T)), averaged over the batch. Nothing is detached.

    Args:
        teacher, student: logits (..., B, C), broadcast against each other; leading dimensions are summed.
        temperature: T.
        epsilon: added to the teacher's probabilities without normalizing them again, as several official codes do.
    """
    log_target = (full_precision(teacher) / temperature).log_softmax(-1)
    target = log_target.exp()
    if epsilon:
        target = target + epsilon
        log_target = target.log()
    divergence = target * (log_target - (full_precision(student) / temperature).log_softmax(-1))
    return temperature**2 * divergence.sum() / divergence.shape[-2]


def mean_of_others(logits: Tensor) -> Tensor:
    """Return, for each of N networks, the mean of the other networks' logits: (N, B, C) to (N, B, C)."""
    return (logits.sum(0) - logits) / max(len(logits) - 1, 1)


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
    return temperature**2 * divergence_of_all_pairs(teacher, student) / student.shape[1]


def mean_divergence_from_others(teachers: Tensor, students: Tensor, *, temperature: float) -> Tensor:
    """Return the divergence of each student from the teachers of the others: summed over students, mean over teachers.

    Args:
        teachers: logits (N, B, C); detached here. Teacher i is not compared with student i.
        students: logits (N, B, C).
        temperature: T; the factor T² is included.
    """
    every = logit_distillation(list(students), list(teachers), temperature=temperature)
    own = kl_divergence(teachers.detach(), students, temperature=temperature)
    return (every - own) / max(len(students) - 1, 1)


def divergence_of_all_pairs(teachers: Tensor, students: Tensor) -> Tensor:
    """Return the KL divergence of each student from each teacher, summed over the batch and over all pairs.

    Args:
        teachers: log-probabilities (M, B, C).
        students: log-probabilities (N, B, C).
    """
    target = teachers.exp()
    # A KL divergence is linear in the target and in the student's log-probabilities, so both are summed first.
    negentropy = len(students) * (target * teachers).sum()
    return negentropy - (target.sum(0) * students.sum(0)).sum()


def mean_logit_distillation(logits: Sequence[Tensor], *, temperature: float, learners: slice = slice(None)) -> Tensor:
    """Distil the detached mean of all networks' logits, one (B, C) each, into each that learns (an option of MCL)."""
    return logit_distillation(logits[learners], [torch.stack(list(logits)).mean(0)], temperature=temperature)
