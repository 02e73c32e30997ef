"""DML: deep mutual learning, each network from the predictions of each other (CVPR 2018, arXiv 1706.00384)."""

from torch import Tensor

from mcl.losses.distillation import logit_distillation
from mcl.losses.numerics import full_precision


def mutual_divergence(logits: Tensor, *, temperature: float) -> Tensor:
    """Return the divergence of each network from the others: sum over networks, mean over the others and the batch.

    Args:
        logits: (N, B, C); detached as teachers.
        temperature: T; the factor T² is included.
    """
    logits = full_precision(logits)
    # Each network's divergence from itself, included here, is 0 and has no gradient.
    return logit_distillation(list(logits), list(logits), temperature=temperature) / max(len(logits) - 1, 1)


def smoothed_divergence(logits: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Return the divergence of the authors' code: the sum over all ordered pairs of q log(ε + q / (p + ε)).

    Args:
        logits: (N, B, C); detached as teachers q.
        epsilon: ε.
    """
    probabilities = full_precision(logits).softmax(-1)
    teachers, students = probabilities.detach()[None], probabilities[:, None] + epsilon  # (1, N, B, C), (N, 1, B, C)
    divergence = (teachers * (epsilon + teachers / students).log()).sum(-1).mean(-1)  # (N, N): student, teacher
    return divergence.sum() - divergence.diagonal().sum()
