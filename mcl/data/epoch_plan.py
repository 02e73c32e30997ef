"""The images and the augmentation of one epoch, for one process.

Order and augmentation do not depend on the number of processes: each process takes its share of every batch, so
together they see what one process would see alone, in as many steps.
"""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.data.augmentation import Augmentation
from mcl.data.mixing import NO_MIXING, Mixing
from mcl.data.resampling import count_earlier
from mcl.data.samplers import Sampler
from mcl.data.seeding import generator
from mcl.distributed.sharding import Shard, Split


class Epoch(NamedTuple):
    """The images that one process trains on in an epoch, step by step."""

    epoch: int
    lengths: list[int]  # images of each step
    indices: Tensor  # (sum of lengths,) int64
    draws: Tensor  # (sum of lengths, ...) draws of the augmentation, in the same order
    repeats: Tensor  # (sum of lengths,) int64: how often each image came earlier in the epoch, over all processes
    batches: tuple[Tensor, ...]  # indices of each step, over all processes
    more_draws: tuple[Tensor, ...] = ()  # like draws, for each further view of the same images
    mixing: Tensor | None = None  # like draws, for mixing images, if they are mixed


def plan_epoch(
    sampler: Sampler,
    augmentation: Augmentation,
    labels: Tensor,
    batch_size: int,
    shard: Shard,
    *,
    seed: int,
    epoch: int,
    views: int = 1,
    mixing: Mixing = NO_MIXING,
) -> Epoch:
    """Return one process's share of every batch, see `Split`.

    The first of several views is drawn as the only one is; each further one has a stream of its own. Images that are
    mixed are in random order.

    Args:
        sampler: chooses the images of each batch.
        augmentation: makes the draws for each image.
        labels: (N,) classes of all training images.
        batch_size: images in a batch, over all processes.
        shard: rank and number of the processes.
        seed, epoch: what the batches and draws depend on; the epoch is counted from 0.
        views: augmented views of each image.
        mixing: makes the draws for each pair of images.
    """
    batches = sampler.batches(labels, batch_size, seed=seed, epoch=epoch)
    mixed: Tensor | None = None
    if mixing:
        stream = generator("mixing", seed, epoch)
        batches = tuple(mixing.shuffle(batch, stream) for batch in batches)
        mixed = mixing.draw(sum(map(len, batches)), stream)
    order = torch.cat(batches)
    draws = augmentation.draw(len(order), generator("augmentation", seed, epoch))
    more = [augmentation.draw(len(order), generator("augmentation", seed, epoch, view)) for view in range(1, views)]
    repeats = count_earlier(order)
    if shard.world_size == 1:
        return Epoch(epoch, [len(batch) for batch in batches], order, draws, repeats, batches, tuple(more), mixed)
    parts = [Split(len(batch), shard.world_size).part(shard.rank) for batch in batches]
    starts = itertools.accumulate((len(batch) for batch in batches), initial=0)
    own = torch.cat([start + torch.arange(part.start, part.stop) for start, part in zip(starts, parts, strict=False)])
    more = [drawn[own] for drawn in more]
    mixed = None if mixed is None else mixed[own]
    lengths = [len(part) for part in parts]
    return Epoch(epoch, lengths, order[own], draws[own], repeats[own], batches, tuple(more), mixed)
