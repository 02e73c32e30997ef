"""Cross-entropy of many heads at once."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def classification(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Sum over heads of the mean cross-entropy of the batch.

    Args:
        logits: per head (B, classes).
        labels: (B,) classes.
    """
    return len(logits) * F.cross_entropy(torch.cat(list(logits)), labels.repeat(len(logits)))
