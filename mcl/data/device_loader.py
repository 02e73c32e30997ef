"""Batches of images that live on the device: no copies and no waiting between two steps."""

from collections.abc import Iterator, Sequence

import torch

from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Images
from mcl.data.epoch_plan import plan_epoch
from mcl.data.normalization import Normalization
from mcl.data.samplers import Sampler
from mcl.distributed.sharding import NO_SHARDING, Shard
from mcl.types import Batch


class Loader:
    """Training batches. Batch k of an epoch depends on (seed, epoch, k) alone, whether reached or jumped to.

    Args:
        images: the training part. It moves to ``device`` as uint8 and stays there.
        sampler: which images make up which batch.
        augmentation: what is done to them.
        mean, std: per channel, in [0, 1] units.
        batch_size: images in a batch.
        seed: of the order and of the augmentation.
        device: where the batches are wanted.
        memory_format, dtype: of the batches' images.
        overfit: give the first batch of epoch 0 at every step, without augmentation (for debugging).
        share: this process among those that train together; ``batch_size`` is that of all of them.

    Raises:
        UserError: when the images do not fit on the device, or make no batch.
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
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
        dtype: torch.dtype = torch.float32,
        overfit: bool = False,
        shard: Shard = NO_SHARDING,
    ):
        counts = images.labels.bincount().tolist()
        sampler.check(counts, batch_size, [f"class {label}" for label in range(len(counts))])
        shard.check(batch_size)
        self.steps = sampler.steps_per_epoch(counts, batch_size)
        self.shard = shard
        self.labels = images.labels.cpu()  # the sampler's copy
        self.images = images.to(device)
        self.sampler = sampler
        self.augmentation = Augmentation() if overfit else augmentation
        self.normalize = Normalization(mean, std, device=device, memory_format=memory_format, dtype=dtype)
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self.overfit = overfit

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from step ``start`` on."""
        if self.overfit:
            batch = next(self._batches(0, 0))
            yield from (batch for _ in range(start, self.steps))
        else:
            yield from self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        plan = plan_epoch(
            self.sampler, self.augmentation, self.labels, self.batch_size, self.shard, seed=self.seed, epoch=epoch
        )
        order, draws = (
            part.to(self.device, non_blocking=True).split(plan.lengths) for part in (plan.indices, plan.draws)
        )
        for step, (indices, drawn, whole) in enumerate(zip(order, draws, plan.wholes, strict=True)):
            if step >= start:
                pixels = self.normalize(self.augmentation.apply(self.images.images, indices, drawn))
                yield Batch(pixels, self.images.labels[indices], indices, epoch * self.steps + step, whole)


def evaluation_batches(
    images: Images,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.contiguous_format,
    dtype: torch.dtype = torch.float32,
    shard: Shard = NO_SHARDING,
) -> Iterator[Batch]:
    """All images of this process's share in order, normalised and otherwise as they are; the last batch may be smaller.

    Images already on ``device`` are used where they are: who evaluates often moves them there once.
    """
    normalize = Normalization(mean, std, device=device, memory_format=memory_format, dtype=dtype)
    own = shard.part(len(images.labels))
    for start in own[::batch_size]:
        part = slice(start, min(start + batch_size, own.stop))
        pixels, labels = (tensor[part].to(device, non_blocking=True) for tensor in images)
        yield Batch(normalize(pixels), labels, torch.arange(part.start, part.stop, device=device))
