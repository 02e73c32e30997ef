"""The two types that flow between rooms: a batch, and the outputs of one network for it."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch, on the training device."""

    images: Tensor  # (B, channels, height, width), normalised
    labels: Tensor  # (B,) int64
    indices: Tensor  # (B,) int64, positions in the training set
    step: int = 0  # training steps before this batch: keys what is drawn at random for it
    whole: int | None = None  # images of the batch over all processes; None: B in each


class Outputs(NamedTuple):
    """What one network says of one batch: S stages, the backbone itself last. S is 1 for a network without branches."""

    features: list[Tensor]  # S times (B, d): pooled
    logits: list[Tensor]  # S times (B, classes)
