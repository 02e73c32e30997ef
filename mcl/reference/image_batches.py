"""Training batches image by image: each is cropped, flipped and normalised by itself, with PIL, in this process.

The order and the random draws are those of `mcl.data.device_loader.Loader`, so the batches are equal up to rounding.
"""

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from mcl.data.dataset import Dataset, Images
from mcl.data.epoch_plan import plan_epoch
from mcl.data.samplers import Sampler
from mcl.distributed.sharding import NO_SHARDING
from mcl.types import Batch


class Batches:
    """The batches of any epoch.

    Args:
        images: the training part.
        sampler: orders the images into batches.
        dataset: has the augmentation, and the mean and standard deviation of each channel.
        batch_size: images in a batch.
        seed: of the order and of the augmentation.
        dtype: of the batches' images, and of the arithmetic.
    """

    def __init__(
        self, images: Images, sampler: Sampler, dataset: Dataset, *, batch_size: int, seed: int, dtype: torch.dtype
    ):
        self.images = [F.to_pil_image(pixels) for pixels in images.images]
        self.labels = images.labels
        self.sampler = sampler
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.dtype = dtype

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, in order."""
        augmentation = self.dataset.augmentation
        plan = plan_epoch(
            self.sampler, augmentation, self.labels, self.batch_size, NO_SHARDING, seed=self.seed, epoch=epoch
        )
        for indices, draws in zip(plan.indices.split(plan.lengths), plan.draws.split(plan.lengths), strict=True):
            images = [self._transform(self.images[index], *draw) for index, draw in zip(indices, draws, strict=True)]
            yield Batch(torch.stack(images), self.labels[indices], indices)

    def _transform(self, image: Image.Image, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
        """Zero-pad, crop at (top, left), flip, convert to [0, 1] and normalise: (C, H, W)."""
        width, height = image.size
        image = F.crop(F.pad(image, self.dataset.augmentation.padding), int(top), int(left), height, width)
        if flip:
            image = F.hflip(image)
        pixels = F.convert_image_dtype(F.pil_to_tensor(image), self.dtype)
        return F.normalize(pixels, list(self.dataset.mean), list(self.dataset.std))
