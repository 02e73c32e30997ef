"""The types passed between packages: a batch, the outputs of a network and its shape."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Mixed(NamedTuple):
    """The other halves of images that are mixtures of two, see `mcl.data.mixing`."""

    labels: Tensor  # (B,) int64, the class of the other image
    share: Tensor  # (B,) float, of an image's own pixels, from 0.5 to 1


class Batch(NamedTuple):
    """One batch, on the training device."""

    images: Tensor  # (B, channels, height, width), normalized; (N, B, ...) with a view for each of N networks
    labels: Tensor  # (B,) int64
    indices: Tensor  # (B,) int64, positions in the training set
    step: int | Tensor = 0  # training steps before this batch, or () int64; seeds its random draws
    whole: int | None = None  # images of the batch over all processes; None: B in each
    mixed: Mixed | None = None  # labels are then those of the larger shares


class Outputs(NamedTuple):
    """Outputs of one network for a batch, from S stages, the backbone last. S is 1 without branches."""

    features: list[Tensor]  # S times (B, d): pooled
    logits: list[Tensor]  # S times (B, classes)
    maps: Sequence[Tensor] = ()  # (B, channels, h, w) of every stage of the backbone, if the loss needs them


class NetworkShape(NamedTuple):
    """The sizes of one network, which the modules of a loss are built for."""

    widths: list[int]  # per stage: width of the pooled features
    channels: list[int]  # per stage of the backbone: channels of its feature map
    num_classes: int
    frozen: bool = False  # never trained, such as a teacher
    shared: int = 0  # stages that all networks of the cohort share
