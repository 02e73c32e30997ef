"""Samplers: the images of every batch. An epoch is a pure function of labels, batch size, seed and epoch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.data.dataset import some
from mcl.data.seeding import generator
from mcl.errors import UserError


class Sampler(ABC):
    """Base of all samplers. They hold options, never a position: a resumed run sees the batches it would have seen.

    Attributes:
        distinct: whether no image comes twice in a batch. Streaming keeps this when it replaces an unreadable image.
    """

    distinct: bool = True

    @abstractmethod
    def batches(self, labels: Tensor, batch_size: int, *, seed: int, epoch: int) -> tuple[Tensor, ...]:
        """The batches of one epoch, each (B,) int64 positions in ``labels`` (N,); all of them views of one tensor."""

    @abstractmethod
    def steps_per_epoch(self, counts: Sequence[int], batch_size: int) -> int:
        """How many batches an epoch has, from the number of images of each class."""

    @abstractmethod
    def check(self, counts: Sequence[int], batch_size: int, class_names: Sequence[str]) -> list[str]:
        """Raise UserError where no batch can be made of so many images; otherwise notes worth telling."""


class Shuffle(Sampler):
    """All images once an epoch, in random order.

    Args:
        drop_last: leave out the last batch when it is not full. One of a single image is always left out, because
            batch normalisation cannot train on it.
    """

    def __init__(self, drop_last: bool = False):
        self.drop_last = drop_last

    def batches(self, labels: Tensor, batch_size: int, *, seed: int, epoch: int) -> tuple[Tensor, ...]:
        steps = self._steps(len(labels), batch_size)
        order = torch.randperm(len(labels), generator=generator("shuffle", seed, epoch))
        return order[: steps * batch_size].split(batch_size)

    def steps_per_epoch(self, counts: Sequence[int], batch_size: int) -> int:
        return self._steps(sum(counts), batch_size)

    def check(self, counts: Sequence[int], batch_size: int, class_names: Sequence[str]) -> list[str]:
        _check_batch_size(batch_size)
        _check_enough(sum(counts), batch_size)
        left = sum(counts) % batch_size
        if left and (self.drop_last or left == 1):
            return [f"each epoch leaves out a last batch of {left} of the {sum(counts):,} training images."]
        return []

    def _steps(self, images: int, batch_size: int) -> int:
        full, left = divmod(images, batch_size)
        return full + int(left > 1 and not self.drop_last)


class ClassBalanced(Sampler):
    """Random classes and random images of each: every image of a batch has positives in it (L-MCL, TPAMI 2023).

    A batch is ``batch_size // per_class`` distinct random classes with ``per_class`` distinct random images each, drawn
    anew for every batch, as published: within an epoch of N // batch_size batches some images come several times and
    some not at all. Where this does not fill the batch exactly, classes get more images: all of them equally many, up
    to one, so a batch always has ``batch_size`` images.

    Args:
        per_class: images of a class in a batch, at least.
        replacement: allow an image to come twice in a batch, so that classes may be smaller than ``per_class``.
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
        classes = keys.topk(plan.classes, dim=1).indices  # (steps, K), in random order
        picks = self._pick(counts[classes], plan.most, rng)  # (steps, K, most), numbered within the class
        positions = labels.argsort(stable=True)[picks + (counts.cumsum(0) - counts)[classes][:, :, None]]
        if plan.fuller < plan.classes:
            # The classes come in random order, so the first ones are as good as random to have one more.
            rest = positions[:, plan.fuller :, : plan.least].flatten(1)
            positions = torch.cat([positions[:, : plan.fuller].flatten(1), rest], dim=1)
        return positions.reshape(steps, batch_size).unbind(0)

    def steps_per_epoch(self, counts: Sequence[int], batch_size: int) -> int:
        return max(1, sum(counts) // batch_size)

    def check(self, counts: Sequence[int], batch_size: int, class_names: Sequence[str]) -> list[str]:
        _check_batch_size(batch_size)
        if batch_size < self.per_class:
            raise UserError(
                f"trainer.batch_size={batch_size} is below sampler.per_class={self.per_class}: "
                "a batch has no room for one class. Raise the first or lower the second."
            )
        empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
        if empty:
            raise UserError(f"No training images of class {some(empty)}: nothing to draw. Use sampler=shuffle.")
        plan = self._plan(len(counts), batch_size)
        if not self.replacement:
            _check_enough(sum(counts), batch_size, "sampler.replacement=true")
            small = [f"{name} ({count})" for name, count in zip(class_names, counts, strict=True) if count < plan.most]
            if small:
                raise UserError(
                    f"A batch of {batch_size} takes up to {plan.most} distinct images of each class, but there are "
                    f"fewer of {some(small)}. Use sampler.replacement=true, a smaller trainer.batch_size or "
                    "sampler=shuffle."
                )
        notes = []
        if plan.most > self.per_class:
            each = str(plan.least) if plan.least == plan.most else f"{plan.least} or {plan.most}"
            notes.append(
                f"a batch of {batch_size} has {each} images of {plan.classes} classes each "
                f"(sampler.per_class={self.per_class} does not fill it)."
            )
        if plan.least == 1:
            notes.append("classes with one image in a batch have no positives there: see sampler.per_class.")
        return notes

    def _plan(self, classes: int, batch_size: int) -> "_Plan":
        chosen = min(classes, batch_size // self.per_class)
        least, fuller = divmod(batch_size, chosen)
        return _Plan(chosen, least, least + (fuller > 0), fuller or chosen)

    def _pick(self, counts: Tensor, amount: int, rng: torch.Generator) -> Tensor:
        """``amount`` numbers below each count, (steps, K) to (steps, K, amount), distinct unless with replacement.

        Without replacement every prefix of the numbers is a fair draw too, so some classes can use one fewer.
        """
        uniform = torch.rand(*counts.shape, amount, generator=rng, dtype=torch.float64)
        if self.replacement:
            return (uniform * counts[..., None]).long()
        # The t-th number is drawn among those not yet taken, counted from 0, then moved past the taken ones below it.
        picks = torch.empty(uniform.shape, dtype=torch.int64)
        for t in range(amount):
            rank = (uniform[..., t] * (counts - t).clamp(min=1)).long()[..., None]
            taken = picks[..., :t].sort(dim=-1).values
            picks[..., t] = (rank + (taken - torch.arange(t) <= rank).sum(-1, keepdim=True)).squeeze(-1)
        return picks.minimum(counts[..., None] - 1)  # a prefix may use all of a class; the number after it goes unused


class _Plan(NamedTuple):
    """What a class-balanced batch is made of: ``fuller`` classes with ``most`` images, the others with ``least``."""

    classes: int
    least: int
    most: int
    fuller: int


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 2:
        raise UserError(
            f"trainer.batch_size={batch_size}: must be at least 2, batch normalisation needs several images."
        )


def _check_enough(images: int, batch_size: int, *options: str) -> None:
    if images < batch_size:
        ways = [f"trainer.batch_size={images} or less", *options, "more images (dataset.limit, dataset.validation)"]
        raise UserError(f"{images} training images do not fill one batch of {batch_size}. Use {', or '.join(ways)}.")
