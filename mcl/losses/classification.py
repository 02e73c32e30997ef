"""Cross-entropy of several classifiers, summed."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def classification(logits: Sequence[Tensor] | Tensor, labels: Tensor) -> Tensor:
    """Return the sum over classifiers of the mean cross-entropy over the batch.

    Args:
        logits: one (B, C) per classifier, or all as (N, B, C).
        labels: (B,) classes.
    """
    return len(logits) * F.cross_entropy(torch.cat(list(logits)), labels.repeat(len(logits)))
