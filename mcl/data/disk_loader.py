"""Batches of images that worker processes read from disk, with the same order and pixels as any other loader.

Whatever is random follows from (seed, epoch, image, how often it came before in the epoch): neither the number of
workers, nor that of the processes that train together, nor the step at which a resumed run jumps in changes a pixel.
"""

import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils.data import DataLoader

from mcl.data.augmentation import Augmentation
from mcl.data.epoch_plan import plan_epoch
from mcl.data.file_reader import Read, Reader, Request
from mcl.data.image_files import ImageFiles
from mcl.data.normalization import Normalization
from mcl.data.samplers import Sampler
from mcl.distributed.sharding import NO_SHARDING, Shard
from mcl.errors import UserError
from mcl.types import Batch

log = logging.getLogger(__name__)
PREFETCH = 4  # batches that a worker reads ahead


class StreamingLoader:
    """Training batches. Batch k of an epoch depends on (seed, epoch, k) alone, whether reached or jumped to.

    An unreadable file stops training, or, with ``files.skip``, gives way to the next readable one of its class, so that
    batches keep their size and their classes; how many there were is told once an epoch. Where the sampler gives
    distinct images, the next one that no process has in this batch. A failure of the file system always stops training.

    Args:
        files: the training part.
        sampler: which images make up which batch.
        augmentation: done on the device, after reading.
        mean, std: per channel, in [0, 1] units.
        batch_size: images in a batch, of all processes together.
        seed: of the order, of the transforms and of the augmentation.
        device: where the batches are wanted.
        memory_format: of the batches' images.
        overfit: give the first batch of epoch 0 at every step (for debugging).
        share: this process among those that train together.
    """

    def __init__(
        self,
        files: ImageFiles,
        sampler: Sampler,
        augmentation: Augmentation,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
        overfit: bool = False,
        shard: Shard = NO_SHARDING,
    ):
        counts = files.labels.bincount().tolist()
        sampler.check(counts, batch_size, [f"class {label}" for label in range(len(counts))])
        shard.check(batch_size)
        self.steps = sampler.steps_per_epoch(counts, batch_size)
        self.files = files
        self.sampler = sampler
        self.augmentation = Augmentation() if overfit else augmentation
        self.normalize = Normalization(mean, std, device=device, memory_format=memory_format)
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        self.overfit = overfit
        self.shard = shard
        self._batches = _Batches()
        self._loader = _workers(files, self._batches, self.device, seed=seed, persistent=True)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from step ``start`` on."""
        if self.overfit:
            batch = next(self._epoch(0, 0))
            yield from (batch for _ in range(start, self.steps))
        else:
            yield from self._epoch(epoch, start)

    def _epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        plan = plan_epoch(
            self.sampler, self.augmentation, self.files.labels, self.batch_size, self.shard, seed=self.seed, epoch=epoch
        )
        distinct = self.files.skip and self.sampler.distinct
        own = zip(plan.indices.split(plan.lengths), plan.repeats.split(plan.lengths), plan.batches, strict=False)
        self._batches.requests = (
            Request(indices.tolist(), epoch, repeats.tolist(), batch.tolist() if distinct else None)
            for indices, repeats, batch in itertools.islice(own, start, None)
        )
        draws = plan.draws.to(self.device, non_blocking=True).split(plan.lengths)[start:]
        replaced: set[str] = set()
        try:
            for step, (read, drawn) in enumerate(zip(_read(self._loader, self.device), draws, strict=True), start):
                replaced |= read.unreadable.keys()
                pixels, labels, indices = (tensor.to(self.device, non_blocking=True) for tensor in read[:3])
                everything = torch.arange(len(labels), device=self.device)
                pixels = self.augmentation.apply(pixels, everything, drawn)
                yield Batch(self.normalize(pixels), labels, indices, epoch * self.steps + step, plan.wholes[step])
        finally:  # training takes the last batch and asks for no other
            if replaced:
                log.warning(
                    "epoch %d: %d unreadable files, others were taken instead: %s%s",
                    *(epoch + 1, len(replaced), min(replaced), ", ..." if len(replaced) > 1 else ""),
                )


def streamed_evaluation(
    files: ImageFiles,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.contiguous_format,
    shard: Shard = NO_SHARDING,
) -> Iterator[Batch]:
    """All images of this process's share in order, without random transforms.

    With ``files.skip``, unreadable ones are left out and counted.
    """
    files = files.for_evaluation()
    normalize = Normalization(mean, std, device=device, memory_format=memory_format)
    own = shard.part(len(files.labels))
    batches = _Batches([Request(list(own[start : start + batch_size])) for start in range(0, len(own), batch_size)])
    lost: dict[str, str] = {}
    workers = _workers(files, batches, torch.device(device), seed=0, persistent=False)
    for read in _read(workers, torch.device(device)):
        lost |= read.unreadable
        if len(read.labels):
            pixels, labels, indices = (tensor.to(device, non_blocking=True) for tensor in read[:3])
            yield Batch(normalize(pixels), labels, indices)
    if lost:
        log.warning("%d unreadable files were left out of the evaluation: %s", len(lost), min(lost))


def raise_if_worker_lost(error: RuntimeError) -> None:
    """Raise UserError where an error means that a worker was killed. It can reach training anywhere."""
    if "DataLoader worker" in str(error):
        raise UserError(
            "a process that reads images was killed, perhaps for want of memory. Use fewer of them (dataset.workers=1,"
            " or 0), then type the same command again to go on from the last checkpoint."
        ) from error


class _Batches:
    """The batch sampler: what is asked of the workers, for an epoch at a time."""

    def __init__(self, requests: Iterable[Request] = ()):
        self.requests = requests

    def __iter__(self) -> Iterator[Any]:
        return iter(self.requests)


def _workers(
    files: ImageFiles, batches: _Batches, device: torch.device, *, seed: int, persistent: bool
) -> DataLoader[Any]:
    several = files.workers > 0
    return DataLoader(
        Reader(files, seed),
        batch_sampler=batches,
        num_workers=files.workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        persistent_workers=persistent and several,
        prefetch_factor=PREFETCH if several else None,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # else it draws from the global one at every start
    )


def _as_it_is(read: Any) -> Any:
    return read


def _begin_worker(number: int) -> None:
    torch.set_num_threads(1)
    if hasattr(os, "setsid"):  # signals to all of a terminal's or a launcher's processes are for the one that trains
        os.setsid()


def _read(loader: DataLoader[Any], device: torch.device) -> Iterator[Read]:
    """What the workers hand over, with plain errors."""
    # The thread that pins memory opens a context on the GPU that is current now, and keeps to it.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        batches = iter(loader)
    while True:
        try:
            read = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            raise_if_worker_lost(error)
            raise
        if read.failure:
            raise UserError(read.failure)
        yield read
