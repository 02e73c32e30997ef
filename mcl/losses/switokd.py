"""SwitOKD: switchable online distillation; a teacher too far ahead pauses (ECCV 2022, arXiv 2209.04996)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl import distributed
from mcl.losses.numerics import full_precision


class Switch(NamedTuple):
    """The state of the switch for one batch, scalars without gradient."""

    gap: Tensor  # mean distance between the predictions of teacher and student
    epsilon: Tensor
    delta: Tensor  # threshold on the gap
    paused: Tensor  # bool: the teacher pauses


def distances(teacher: Tensor, student: Tensor, labels: Tensor, *, whole: int | None = None) -> Tensor:
    """Return (3,): the distance of the teacher and of the student from the labels, and from each other.

    A distance is the sum over classes of the absolute difference of probabilities, averaged over the batch.

    Args:
        teacher, student: logits (B, C).
        labels: (B,) classes.
        whole: images of the batch over all processes; None: B in each.
    """
    with torch.no_grad():
        t, s = full_precision(teacher).softmax(-1), full_precision(student).softmax(-1)
        y = F.one_hot(labels, t.shape[-1])
        means = torch.stack([(a - b).abs().sum(-1).mean() for a, b in ((t, y), (s, y), (t, s))])
        return distributed.all_reduce_mean([means], distributed.weight(whole))[0]


def decide(teacher: Tensor, student: Tensor, gap: Tensor, epsilon: Tensor | None = None) -> Switch:
    """Return the switch for the distances of `distances`; ``epsilon`` replaces that of the pair itself."""
    if epsilon is None:
        epsilon = (-teacher / (teacher + student)).exp()
    delta = student - epsilon * teacher
    return Switch(gap, epsilon, delta, (gap > delta) & (teacher < student))


def switch(teacher: Tensor, student: Tensor, labels: Tensor, *, whole: int | None = None) -> Switch:
    """Return whether the teacher pauses on this batch: it is nearer to the labels, and the gap exceeds the threshold.

    Args:
        teacher, student: logits (B, C).
        labels: (B,) classes.
        whole: as in `distances`.
    """
    return decide(*distances(teacher, student, labels, whole=whole))
