"""Cross-entropy of several classifiers, summed: with smoothed labels, class weights, or two labels of mixed images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.types import Mixed


def classification(
    logits: Sequence[Tensor] | Tensor,
    labels: Tensor,
    *,
    mixed: Mixed | None = None,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the sum over classifiers of the mean cross-entropy over the batch.

    Args:
        logits: one (B, C) per classifier, or all as (N, B, C).
        labels: (B,) classes.
        mixed: the second label of each image and the share of the first; None: images are not mixed.
        smoothing: share of the target that is spread over all classes (Szegedy et al., CVPR 2016).
        weights: (C,) factor on the images of each class; of smoothed labels, on the share of each class, as
            `torch.nn.functional.cross_entropy` has it. The mean is over images, not over their weights: parts of a
            batch then add up to the whole.
    """
    together = torch.cat(list(logits))
    if mixed is None and not smoothing and weights is None:
        return len(logits) * F.cross_entropy(together, labels.repeat(len(logits)))
    if weights is not None:
        weights = weights.to(together)

    def losses(labels: Tensor) -> Tensor:
        repeated = labels.repeat(len(logits))
        return F.cross_entropy(together, repeated, weights, reduction="none", label_smoothing=smoothing)

    each = losses(labels)
    if mixed is not None:
        share = mixed.share.to(together).repeat(len(logits))
        each = share * each + (1 - share) * losses(mixed.labels)
    return len(logits) * each.mean()
