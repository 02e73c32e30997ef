"""Samplers choose the images of every batch, as a pure function of labels, batch size, seed and epoch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.console import summarize
from mcl.data.seeding import generator
from mcl.errors import UserError


class Sampler(ABC):
    """Base class of samplers. They have options but no state, so a resumed run sees the same batches.

    Attributes:
        distinct: whether the images of a batch are distinct. If True, an unreadable
            image is replaced by one that is not in the batch yet.
    """

    distinct: bool = True

    @abstractmethod
    def batches(self, labels: Tensor, batch_size: int, *, seed: int, epoch: int) -> tuple[Tensor, ...]:
        """Return the batches of an epoch, each (B,) int64 positions in ``labels`` (N,); views of one tensor."""

    @abstractmethod
    def steps_per_epoch(self, counts: Sequence[int], batch_size: int) -> int:
        """Return the number of batches in an epoch, from the number of images of each class."""

    @abstractmethod
    def check(self, counts: Sequence[int], batch_size: int, class_names: Sequence[str]) -> list[str]:
        """Raise UserError if so many images cannot form a batch. Otherwise, return notes for the user."""

    def positives(self, counts: Sequence[int], batch_size: int) -> float | None:
        """Return how many other images of its class an image finds in a batch, on average; None if `check` says it."""
        return None

    def describe(self, counts: Sequence[int], batch_size: int) -> str:
        """Return what a batch consists of, for the overview; may be empty."""
        return ""


class Shuffle(Sampler):
    """Samples every image once per epoch, in random order.

    Args:
        drop_last: drop the last batch if it is not full. A batch of a single image is always dropped, because batch
            normalization cannot train on it.
    """

    def __init__(self, drop_last: bool = False):
        self.drop_last = drop_last

    def batches(self, labels: Tensor, batch_size: int, *, seed: int, epoch: int) -> tuple[Tensor, ...]:
        steps = self.steps_per_epoch([len(labels)], batch_size)
        order = torch.randperm(len(labels), generator=generator("shuffle", seed, epoch))
        return order[: steps * batch_size].split(batch_size)

    def steps_per_epoch(self, counts: Sequence[int], batch_size: int) -> int:
        full, left = divmod(sum(counts), batch_size)
        return full + int(left > 1 and not self.drop_last)

    def check(self, counts: Sequence[int], batch_size: int, class_names: Sequence[str]) -> list[str]:
        check_batch_size(batch_size)
        _check_enough(sum(counts), batch_size)
        left = sum(counts) % batch_size
        if left and (self.drop_last or left == 1):
            return [f"each epoch drops a last batch of {left} of the {sum(counts):,} training images."]
        return []

    def positives(self, counts: Sequence[int], batch_size: int) -> float:
        images = sum(counts)
        pairs = sum(count * (count - 1) for count in counts)
        return (batch_size - 1) * pairs / (images * (images - 1))


class ClassBalanced(Sampler):
    """Samples random classes and random images of each, so that every image has positives in its batch (L-MCL).

    Every batch draws ``batch_size // per_class`` distinct classes and ``per_class`` distinct images of each, as
    published (TPAMI 2023): in an epoch of N // batch_size batches some images occur several times and others never. If
    this does not fill a batch, classes get more images, and their numbers differ by at most one.

    Args:
        per_class: least number of images of a class in a batch.
        replacement: allow an image to occur twice in a batch, so that classes may be smaller than ``per_class``.

    Raises:
        UserError: ``per_class`` is below 1.
    """

    def __init__(self, per_class: int = 2, replacement: bool = False):
        if per_class < 1:
            raise UserError(f"sampler.per_class={per_class}: must be at least 1.")
        self.per_class = per_class
        self.replacement = replacement
        self.distinct = not replacement

    def batches(self, labels: Tensor, batch_size: int, *, seed: int, epoch: int) -> tuple[Tensor, ...]:
        counts = labels.bincount()  # (C,)
        plan = self._plan(len(counts), batch_size)
        steps = max(1, len(labels) // batch_size)
        rng = generator("class_balanced", seed, epoch)

        keys = torch.rand(steps, len(counts), generator=rng)
        classes = keys.topk(plan.num_classes, dim=1).indices  # (steps, K), in random order
        picks = self._pick(counts[classes], plan.max_images, rng)  # (steps, K, most), numbered within the class
        positions = labels.argsort(stable=True)[picks + (counts.cumsum(0) - counts)[classes][:, :, None]]
        if plan.num_larger < plan.num_classes:
            # The classes are in random order, so it may be the first ones that get one more.
            rest = positions[:, plan.num_larger :, : plan.min_images].flatten(1)
            positions = torch.cat([positions[:, : plan.num_larger].flatten(1), rest], dim=1)
        return positions.reshape(steps, batch_size).unbind(0)

    def steps_per_epoch(self, counts: Sequence[int], batch_size: int) -> int:
        return max(1, sum(counts) // batch_size)

    def check(self, counts: Sequence[int], batch_size: int, class_names: Sequence[str]) -> list[str]:
        check_batch_size(batch_size)
        if batch_size < self.per_class:
            raise UserError(
                f"trainer.batch_size={batch_size} is below sampler.per_class={self.per_class}: "
                f"a batch has no room for one class. Use trainer.batch_size={self.per_class} or more, or "
                f"sampler.per_class={batch_size} or less."
            )
        empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
        if empty:
            raise UserError(f"There are no training images of class {summarize(empty)}. Use sampler=shuffle.")
        plan = self._plan(len(counts), batch_size)
        if not self.replacement:
            _check_enough(sum(counts), batch_size, "sampler.replacement=true")
            small = [
                f"{name} ({count})" for name, count in zip(class_names, counts, strict=True) if count < plan.max_images
            ]
            if small:
                raise UserError(
                    f"A batch of {batch_size} takes up to {plan.max_images} distinct images of each class, but there "
                    f"are fewer of {summarize(small)}. Use sampler.replacement=true, a smaller trainer.batch_size or "
                    "sampler=shuffle."
                )
        notes = []
        if plan.min_images == 1:
            notes.append("some classes have one image in a batch, and so no positive: use sampler.per_class=2 or more.")
        return notes

    def describe(self, counts: Sequence[int], batch_size: int) -> str:
        plan = self._plan(len(counts), batch_size)
        numbers = dict.fromkeys([plan.min_images, plan.max_images])
        return f"{' or '.join(map(str, numbers))} images of each of {plan.num_classes} classes"

    def _plan(self, classes: int, batch_size: int) -> "_Plan":
        chosen = min(classes, batch_size // self.per_class)
        min_images, num_larger = divmod(batch_size, chosen)
        return _Plan(chosen, min_images, min_images + (num_larger > 0), num_larger or chosen)

    def _pick(self, counts: Tensor, amount: int, rng: torch.Generator) -> Tensor:
        """Draw ``amount`` numbers below each count, (steps, K) to (steps, K, amount), distinct without replacement.

        Without replacement every prefix of the numbers is a uniform draw too, so some classes can use one fewer.
        """
        uniform = torch.rand(*counts.shape, amount, generator=rng, dtype=torch.float64)
        if self.replacement:
            return (uniform * counts[..., None]).long()
        # Draw the t-th number as a rank among those not taken yet, then move it past the taken ones below it.
        picks = torch.empty(uniform.shape, dtype=torch.int64)
        for t in range(amount):
            rank = (uniform[..., t] * (counts - t).clamp(min=1)).long()[..., None]
            taken = picks[..., :t].sort(dim=-1).values
            picks[..., t] = (rank + (taken - torch.arange(t) <= rank).sum(-1, keepdim=True)).squeeze(-1)
        return picks.minimum(counts[..., None] - 1)  # a prefix may exhaust a class; the number after it is unused


class _Plan(NamedTuple):
    """A class-balanced batch: ``num_larger`` classes have ``max_images`` images, the others ``min_images``."""

    num_classes: int
    min_images: int
    max_images: int
    num_larger: int


def check_batch_size(batch_size: int) -> None:
    """Raise UserError if a batch is too small for batch normalization."""
    if batch_size < 2:
        raise UserError(
            f"trainer.batch_size={batch_size}: must be at least 2, because batch normalization needs several images."
        )


def _check_enough(images: int, batch_size: int, *options: str) -> None:
    if images < batch_size:
        remedies = [f"trainer.batch_size={images} or less", *options, "more images (dataset.limit, dataset.validation)"]
        remedy = ", or ".join(remedies)
        raise UserError(f"{images} training images do not fill one batch of {batch_size}. Use {remedy}.")
