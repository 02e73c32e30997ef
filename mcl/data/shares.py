"""Which images of an epoch this process trains on, and how they are augmented.

There is one order of images and one augmentation, whatever the number of processes: each takes its share of every
batch, so that together they see what one process would see alone.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.data.augmentation import Augmentation
from mcl.data.samplers import Sampler
from mcl.data.seeding import generator
from mcl.errors import UserError

SMALLEST = 2  # images that batch normalisation can train on


class Share(NamedTuple):
    """One process of several."""

    rank: int = 0
    size: int = 1

    def check(self, batch_size: int) -> None:
        """Raise UserError unless every process gets as many images of a batch, and enough."""
        if batch_size % self.size or batch_size < SMALLEST * self.size:
            raise UserError(
                f"trainer.batch_size={batch_size} is that of all {self.size} processes together: it must be a multiple"
                f" of {self.size}, and give each {SMALLEST} images or more."
            )

    def length(self, batch: int) -> int:
        """Images of a batch that each process takes; 0 where that would be too few to train on."""
        each = batch // self.size
        return each if each >= SMALLEST else 0

    def part(self, count: int) -> range:
        """This process's part of ``count`` images that are shared out without rest, for evaluation."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)


ALONE = Share()


class Epoch(NamedTuple):
    """What one process goes through in an epoch, step by step."""

    lengths: list[int]  # images of each step
    indices: Tensor  # (sum of lengths,) int64
    draws: Tensor  # (sum of lengths, ...) of the augmentation, in the same order


def plan_epoch(
    sampler: Sampler,
    augmentation: Augmentation,
    labels: Tensor,
    batch_size: int,
    share: Share,
    *,
    seed: int,
    epoch: int,
) -> Epoch:
    """The share of one process: of each batch the ``rank``-th of ``size`` equal slices."""
    batches = sampler.batches(labels, batch_size, seed=seed, epoch=epoch)
    order = torch.cat(batches)
    draws = augmentation.draw(len(order), generator("augmentation", seed, epoch))
    if share.size == 1:
        return Epoch([len(batch) for batch in batches], order, draws)
    lengths = [share.length(len(batch)) for batch in batches]
    starts = itertools.accumulate((len(batch) for batch in batches), initial=0)
    own = torch.cat(
        [start + share.rank * each + torch.arange(each) for start, each in zip(starts, lengths, strict=False)]
    )
    return Epoch([each for each in lengths if each], order[own], draws[own])


def steps_per_epoch(sampler: Sampler, counts: Sequence[int], batch_size: int, share: Share) -> int:
    """How many steps an epoch has, from the number of images of each class."""
    steps = sampler.steps_per_epoch(counts, batch_size)
    return steps - (share.length(last_batch(sampler, counts, batch_size)) == 0)


def last_batch(sampler: Sampler, counts: Sequence[int], batch_size: int) -> int:
    """Images of the last batch of an epoch, of all processes together."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return len(sampler.batches(labels, batch_size, seed=0, epoch=0)[-1])


def notes(sampler: Sampler, counts: Sequence[int], batch_size: int, share: Share) -> list[str]:
    """What is worth telling of how batches are shared out."""
    last = last_batch(sampler, counts, batch_size) if share.size > 1 else 0
    left = last - share.size * share.length(last)
    if not left:
        return []
    return [f"{share.size} processes share the last batch of an epoch without {left} of its {last} images."]
