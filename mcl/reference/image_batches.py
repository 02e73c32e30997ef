"""Training batches image by image: each one cropped, flipped and normalised by itself, with PIL, in this process.

The order and the draws are those of `mcl.data.loaders.TrainingLoader`, so the batches are the same to rounding.
"""

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Images
from mcl.data.epoch_plan import plan_epoch
from mcl.data.samplers import Sampler
from mcl.distributed.sharding import NO_SHARDING
from mcl.types import Batch


class Batches:
    """The batches of any epoch.

    Args:
        images: the training part.
        sampler: which images make up which batch.
        augmentation: what is done to them.
        mean, std: per channel, in [0, 1] units.
        batch_size: images in a batch.
        seed: of the order and of the augmentation.
        dtype: of the batches' images, and of the arithmetic.
    """

    def __init__(
        self,
        images: Images,
        sampler: Sampler,
        augmentation: Augmentation,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        batch_size: int,
        seed: int,
        dtype: torch.dtype = torch.float32,
    ):
        self.images = [F.to_pil_image(pixels) for pixels in images.images]
        self.labels = images.labels
        self.sampler = sampler
        self.augmentation = augmentation
        self.mean = list(mean)
        self.std = list(std)
        self.batch_size = batch_size
        self.seed = seed
        self.dtype = dtype

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, in order."""
        plan = plan_epoch(
            self.sampler, self.augmentation, self.labels, self.batch_size, NO_SHARDING, seed=self.seed, epoch=epoch
        )
        first = 0
        for length in plan.lengths:
            indices = plan.indices[first : first + length].tolist()
            draws = plan.draws[first : first + length].tolist()
            images, labels = [], []
            for index, (top, left, flip) in zip(indices, draws, strict=True):
                images.append(self._transformed(self.images[index], top, left, bool(flip)))
                labels.append(int(self.labels[index]))
            yield Batch(torch.stack(images), torch.tensor(labels), torch.tensor(indices))
            first += length

    def _transformed(self, image: Image.Image, top: int, left: int, flip: bool) -> Tensor:
        """Zero-pad, crop at (top, left), flip, to a tensor in [0, 1], normalise: (C, H, W)."""
        width, height = image.size
        image = F.crop(F.pad(image, self.augmentation.padding), top, left, height, width)
        if flip:
            image = F.hflip(image)
        pixels = F.convert_image_dtype(F.pil_to_tensor(image), self.dtype)
        return F.normalize(pixels, self.mean, self.std)
