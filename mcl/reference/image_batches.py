"""Training batches image by image: each is cropped, flipped and normalized by itself, with PIL, in this process.

The order and the random draws are those of `mcl.data.loaders.TrainingLoader`, so the batches are equal up to rounding.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from mcl.data.dataset import Dataset, Images
from mcl.data.epoch_plan import plan_epoch
from mcl.data.samplers import Sampler
from mcl.distributed.sharding import NO_SHARDING
from mcl.types import Batch


@dataclass
class Batches:
    """The batches of any epoch."""

    train: Images
    dataset: Dataset  # has the augmentation, and the mean and standard deviation of each channel
    sampler: Sampler
    batch_size: int
    seed: int  # seed of the order and of the augmentation
    dtype: torch.dtype  # dtype of the images and of the computation

    def __post_init__(self) -> None:
        self.images = [F.to_pil_image(pixels) for pixels in self.train.images]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, in order."""
        labels, augmentation = self.train.labels, self.dataset.augmentation
        plan = plan_epoch(self.sampler, augmentation, labels, self.batch_size, NO_SHARDING, seed=self.seed, epoch=epoch)
        for indices, draws in zip(plan.indices.split(plan.lengths), plan.draws.split(plan.lengths), strict=True):
            images = [self._transform(self.images[index], *draw) for index, draw in zip(indices, draws, strict=True)]
            yield Batch(torch.stack(images), labels[indices], indices)

    def _transform(self, image: Image.Image, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
        """Pad, crop at (top, left), flip, convert to [0, 1] and normalize: (C, H, W)."""
        width, height = image.size
        augmentation = self.dataset.augmentation
        image = F.pad(image, augmentation.padding, padding_mode=augmentation.padding_mode)
        image = F.crop(image, int(top), int(left), height, width)
        if flip:
            image = F.hflip(image)
        pixels = F.convert_image_dtype(F.pil_to_tensor(image), self.dtype)
        return F.normalize(pixels, list(self.dataset.mean), list(self.dataset.std))
