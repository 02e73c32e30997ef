"""Batches for training and evaluation, augmented and normalized on the device.

Batch k of an epoch depends on (seed, epoch, k) alone. It does not depend on where the images are stored, on the number
of processes or workers, or on the step at which a run resumes.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module

import torch
from torch import Tensor

from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Dataset, Images
from mcl.data.device_loader import DeviceLoader
from mcl.data.disk_loader import DiskLoader
from mcl.data.epoch_plan import plan_epoch
from mcl.data.image_files import ImageFiles
from mcl.data.mixing import NO_MIXING, Mixing
from mcl.data.normalization import Normalization
from mcl.data.samplers import Sampler
from mcl.distributed.sharding import NO_SHARDING, Shard
from mcl.errors import UserError
from mcl.types import Batch

VIEWS = 5  # dimensions of images that hold several views of a batch


class TrainingLoader:
    """The training batches of every epoch.

    Args:
        split: the training images. Images in memory move to ``device`` as uint8 and stay there.
        dataset: gives the augmentation and the statistics for normalization.
        sampler: chooses the images of each batch.
        batch_size: images in a batch, over all processes.
        seed: seed of the order, the random transforms and the augmentation.
        device: device of the batches.
        memory_format, dtype: format of the batches' images.
        overfit: repeat the first batch of epoch 0 at every step, without augmentation (for debugging).
        shard: rank and number of the processes that share each batch.
        views: differently augmented views of each image; with several, the batches' images are (views, B, ...).
        mixing: mixes the images of each full batch with one another.

    Raises:
        UserError: The images do not fit on the device, or cannot form batches of this size.
    """

    def __init__(
        self,
        split: Images | ImageFiles,
        dataset: Dataset,
        sampler: Sampler,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
        dtype: torch.dtype = torch.float32,
        overfit: bool = False,
        shard: Shard = NO_SHARDING,
        views: int = 1,
        mixing: Mixing = NO_MIXING,
    ):
        counts = split.labels.bincount().tolist()
        sampler.check(counts, batch_size, [f"class {label}" for label in range(len(counts))])
        shard.check(batch_size)
        mixing.check(batch_size, shard.world_size)
        self.steps = sampler.steps_per_epoch(counts, batch_size)
        self.sampler = sampler
        self.augmentation = Augmentation() if overfit else dataset.augmentation
        self.mixing = NO_MIXING if overfit else mixing
        self.batch_size = batch_size
        self.plan = partial(
            plan_epoch,
            sampler,
            self.augmentation,
            split.labels.cpu(),
            batch_size,
            shard,
            seed=seed,
            views=views,
            mixing=self.mixing,
        )
        self.normalize = Normalization(
            dataset.mean, dataset.std, device=device, memory_format=memory_format, dtype=dtype
        )
        self.seed = seed
        self.device = torch.device(device)
        self.overfit = overfit
        self.loader: DeviceLoader | DiskLoader
        if isinstance(split, ImageFiles):
            if split.device_crop is not None:
                _check_device_decoding(self.device, views)
            self.loader = DiskLoader(
                split, self.device, seed=seed, distinct=sampler.distinct, persistent=True, views=views
            )
        else:
            self.loader = DeviceLoader(split.to(self.device), self.device)

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return self.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from step ``start`` on."""
        if self.overfit:
            batch = next(self._batches(0, 0))
            yield from (batch for _ in range(start, self.steps))
        else:
            yield from self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        plan = self.plan(epoch=epoch)
        by_view = [
            list(zip(*(each.split(plan.lengths)[start:] for each in self._on_device(draws)), strict=True))
            for draws in (plan.draws, *plan.more_draws)
        ]
        mixing = None if plan.mixing is None else self._on_device(plan.mixing)[0].split(plan.lengths)
        loaded = self.loader.follow(plan, start)
        for step, ((images, labels, indices), *drawn) in enumerate(zip(loaded, *by_view, strict=True), start):
            images = self._augment(images, drawn)
            whole = len(plan.batches[step])
            batch = Batch(images, labels, indices, epoch * self.steps + step, whole)
            if mixing is not None and whole == self.batch_size:  # a smaller last batch may not consist of pairs
                images, mixed = self.mixing.apply(images, labels, mixing[step])
                batch = batch._replace(images=images, mixed=mixed)
            yield batch

    def _on_device(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Return draws on the device, and as they are."""
        return draws.to(self.device, non_blocking=True), draws

    def _augment(self, images: Tensor, drawn: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Augment and normalize uint8 images (B, ...), or (views, B, ...) if random transforms made views of them.

        Args:
            images: of one batch.
            drawn: for each view, the draws on the device, and the same on the CPU.
        """
        several = images.dim() == VIEWS
        views = [self._view(images[i] if several else images, *draws) for i, draws in enumerate(drawn)]
        if len(views) == 1:
            return views[0]
        # Every view keeps the memory format of its images.
        last = [view.movedim(1, -1) for view in views] if self.normalize.memory_format is torch.channels_last else views
        stacked = torch.stack(last)
        return stacked.movedim(-1, 2) if last is not views else stacked

    def _view(self, images: Tensor, draws: Tensor, host_draws: Tensor) -> Tensor:
        images = self.normalize(self.augmentation.apply(images, draws, host_draws))
        return self.augmentation.erase(images, draws)


def _check_device_decoding(device: torch.device, views: int) -> None:
    if device.type != "cuda":
        raise UserError(f"dataset.decode=gpu: training runs on {device.type}. Use dataset.decode=cpu.")
    if not hasattr(import_module("torchvision.io"), "decode_jpeg"):  # deprecated since 0.29
        raise UserError("dataset.decode=gpu: this version of torchvision decodes no images. Use dataset.decode=cpu.")
    if views > 1:
        raise UserError(
            f"dataset.decode=gpu makes one view of each image, and trainer.views asks for {views}. Use"
            " dataset.decode=cpu."
        )


def batches_in_order(
    split: Images | ImageFiles,
    dataset: Dataset,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.contiguous_format,
    shard: Shard = NO_SHARDING,
) -> Iterator[Batch]:
    """Yield this process's share of a split in order, normalized but not augmented; the last batch may be smaller.

    Images that are already on ``device`` are not copied: if you evaluate often, move them there once. Unreadable files
    are left out and counted if ``split.skip``.
    """
    device = torch.device(device)
    normalize = Normalization(dataset.mean, dataset.std, device=device, memory_format=memory_format)
    for images, labels, indices in pixels_in_order(split, batch_size=batch_size, device=device, shard=shard):
        yield Batch(normalize(images), labels, indices)


def pixels_in_order(
    split: Images | ImageFiles, *, batch_size: int, device: torch.device, shard: Shard = NO_SHARDING
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield uint8 images, labels and indices as `batches_in_order` does, before normalization."""
    loader: DeviceLoader | DiskLoader
    loader = (
        DiskLoader(split.for_evaluation(), device) if isinstance(split, ImageFiles) else DeviceLoader(split, device)
    )
    yield from loader.in_order(shard.part(len(split.labels)), batch_size)
