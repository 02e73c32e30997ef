"""BYOT: side heads learn from the last classifier of their own network (ICCV 2019, arXiv 1905.08094)."""

from torch import Tensor

from mcl.losses.numerics import full_precision


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
