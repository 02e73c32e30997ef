"""DKS: every head of a network learns from every other (CVPR 2019, arXiv 1906.00675)."""

from torch import Tensor

from mcl.losses.distillation import divergence_of_all_pairs
from mcl.losses.numerics import full_precision


def synergy(logits: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Return the divergence of each head from each other, averaged over the batch and summed over ordered pairs.

    Args:
        logits: (N, B, C); detached as teachers.
        epsilon: added to all probabilities, which are then normalised again: the divergence is bounded.
    """
    probabilities = full_precision(logits).softmax(-1)
    smoothed = ((probabilities + epsilon) / (1 + logits.shape[-1] * epsilon)).log()
    # Each head's divergence from itself, included here, is 0 and has no gradient.
    return divergence_of_all_pairs(smoothed.detach(), smoothed) / logits.shape[1]
