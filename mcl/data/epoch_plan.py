"""The images of an epoch that this process trains on, and their augmentation.

There is one order of images and one augmentation, whatever the number of processes: each takes its share of every
batch, so that together they see what one process would see alone, in as many steps.
"""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.data.augmentation import Augmentation
from mcl.data.samplers import Sampler
from mcl.data.seeding import generator
from mcl.distributed.sharding import Shard, Split


class Epoch(NamedTuple):
    """What one process goes through in an epoch, step by step."""

    lengths: list[int]  # images of each step
    indices: Tensor  # (sum of lengths,) int64
    draws: Tensor  # (sum of lengths, ...) of the augmentation, in the same order
    repeats: Tensor  # (sum of lengths,) int64: how often each image comes earlier in the epoch, over all processes
    batches: tuple[Tensor, ...]  # the indices of each step over all processes

    @property
    def wholes(self) -> list[int]:
        """Images of each step over all processes."""
        return [len(batch) for batch in self.batches]


def plan_epoch(
    sampler: Sampler,
    augmentation: Augmentation,
    labels: Tensor,
    batch_size: int,
    shard: Shard,
    *,
    seed: int,
    epoch: int,
) -> Epoch:
    """The share of one process: its part of each batch, see `Split`."""
    batches = sampler.batches(labels, batch_size, seed=seed, epoch=epoch)
    order = torch.cat(batches)
    draws = augmentation.draw(len(order), generator("augmentation", seed, epoch))
    repeats = _earlier(order)
    if shard.world_size == 1:
        return Epoch([len(batch) for batch in batches], order, draws, repeats, batches)
    parts = [Split(len(batch), shard.world_size).part(shard.rank) for batch in batches]
    starts = itertools.accumulate((len(batch) for batch in batches), initial=0)
    own = torch.cat([start + torch.arange(part.start, part.stop) for start, part in zip(starts, parts, strict=False)])
    return Epoch([len(part) for part in parts], order[own], draws[own], repeats[own], batches)


def _earlier(order: Tensor) -> Tensor:
    """How often each of these numbers comes before, (N,) to (N,)."""
    by_number = order.argsort(stable=True)
    counts = order.bincount()
    firsts = counts.cumsum(0) - counts
    earlier = torch.empty_like(order)
    earlier[by_number] = torch.arange(len(order)) - firsts[order[by_number]]
    return earlier
