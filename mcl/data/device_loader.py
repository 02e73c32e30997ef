"""Load batches from tensors: no copies and no waiting between two steps when they are on the device already."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mcl.data.dataset import Images
from mcl.data.epoch_plan import Epoch


class DeviceLoader:
    """Loads uint8 images, labels and indices, each (B, ...), to a device.

    Args:
        images: the images of one split. Training needs them on ``device``.
        device: device of the batches.
    """

    def __init__(self, images: Images, device: torch.device):
        self.images = images
        self.device = device

    def follow(self, plan: Epoch, start: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the batches of an epoch, from step ``start`` on."""
        for indices in plan.indices.to(self.device, non_blocking=True).split(plan.lengths)[start:]:
            yield self.images.images[indices], self.images.labels[indices], indices

    def in_order(self, positions: range, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the images at ``positions``."""
        for start in positions[::batch_size]:
            stop = min(start + batch_size, positions.stop)
            images, labels = (tensor[start:stop].to(self.device, non_blocking=True) for tensor in self.images)
            yield images, labels, torch.arange(start, stop, device=self.device)
