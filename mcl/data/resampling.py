"""Sample rare classes more often than their images, for training sets with a long tail."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mcl.data.samplers import Sampler, check_batch_size
from mcl.data.seeding import generator
from mcl.errors import UserError


class Resampled(Sampler):
    """Draws the class of each image of a batch with a probability proportional to (images of the class) ^ power.

    Power 1 is the distribution of the images, 0 draws all classes equally often, and 0.5 is square-root sampling (Kang
    et al., ICLR 2020, arXiv 1910.09217). An epoch has as many steps as one that has every image once. The images of a
    class follow one another in random order, and again when all have been used.

    Args:
        power: from 0 to 1.

    Raises:
        UserError: ``power`` is not from 0 to 1.
    """

    distinct = False  # a batch may have an image of a rare class twice

    def __init__(self, power: float = 0.5):
        if not 0 <= power <= 1:
            raise UserError(f"sampler.power={power}: must be from 0 (all classes equally often) to 1 (as they are).")
        self.power = power

    def batches(self, labels: Tensor, batch_size: int, *, seed: int, epoch: int) -> tuple[Tensor, ...]:
        rng = generator("resampled", seed, epoch)
        counts = labels.bincount()
        images = self.steps_per_epoch(counts.tolist(), batch_size) * batch_size
        drawn = torch.multinomial(self._shares(counts), images, replacement=True, generator=rng)
        shuffled = torch.randperm(len(labels), generator=rng)
        members = shuffled[labels[shuffled].argsort(stable=True)]  # class by class
        starts = counts.cumsum(0) - counts
        return members[starts[drawn] + count_earlier(drawn) % counts[drawn]].split(batch_size)

    def steps_per_epoch(self, counts: Sequence[int], batch_size: int) -> int:
        return max(1, sum(counts) // batch_size)

    def check(self, counts: Sequence[int], batch_size: int, class_names: Sequence[str]) -> list[str]:
        check_batch_size(batch_size)
        if not sum(counts):
            raise UserError("There are no training images.")
        return []

    def positives(self, counts: Sequence[int], batch_size: int) -> float:
        shares = self._shares(torch.tensor(counts))
        return (batch_size - 1) * float(shares.square().sum())

    def describe(self, counts: Sequence[int], batch_size: int) -> str:
        shares = 100 * self._shares(torch.tensor(counts))
        present = shares[shares > 0]
        return f"{float(present.min()):.2g} to {float(present.max()):.2g} % of each class"

    def _shares(self, counts: Tensor) -> Tensor:
        """Return the probability of each class, (C,) float64; 0 for a class without images."""
        weights = torch.where(counts > 0, counts.double() ** self.power, 0.0)
        return weights / weights.sum()


def count_earlier(numbers: Tensor) -> Tensor:
    """Return how often each number came before, (N,) to (N,)."""
    by_number = numbers.argsort(stable=True)
    counts = numbers.bincount()
    firsts = counts.cumsum(0) - counts
    earlier = torch.empty_like(numbers)
    earlier[by_number] = torch.arange(len(numbers)) - firsts[numbers[by_number]]
    return earlier
