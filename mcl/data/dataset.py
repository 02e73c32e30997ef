"""The interface of datasets: cheap facts first (``spec``), images on request (``load``)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mcl.console import summarize
from mcl.data.augmentation import Augmentation
from mcl.data.image_files import ImageFiles
from mcl.data.seeding import generator
from mcl.errors import UserError


class Images(NamedTuple):
    """Images with their labels."""

    images: Tensor  # (N, channels, height, width) uint8
    labels: Tensor  # (N,) int64

    def take(self, indices: Tensor) -> "Images":
        """Return the images at ascending ``indices`` (M,)."""
        return Images(take_rows(self.images, indices), take_rows(self.labels, indices))

    def to(self, device: torch.device | str) -> "Images":
        """Move the images to ``device``.

        Raises:
            UserError: They do not fit there.
        """
        try:
            return Images(self.images.to(device), self.labels.to(device))
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{len(self.labels):,} images ({self.images.nbytes / 1e9:.1f} GB) do not fit on {device}. Lower"
                " dataset.image_size or set dataset.limit; with dataset=folder, dataset.storage=disk reads them during"
                " training."
            ) from error


class Splits(NamedTuple):
    """The splits of a dataset. ``validation`` was held out of the training split, or came with the data."""

    train: Images | ImageFiles
    test: Images | ImageFiles
    validation: Images | ImageFiles | None


@dataclass(frozen=True)
class DataSpec:
    """Facts of a dataset that are known before any image is read."""

    name: str  # name in results
    classes: tuple[str, ...]  # names, by label
    channels: int  # 1 or 3
    image_size: int  # side of the square images, in pixels
    counts: tuple[int, ...]  # training images of each class, after limit and validation
    has_validation: bool  # whether there is a validation split

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (channels, height, width) of an image."""
        return self.channels, self.image_size, self.image_size

    @property
    def num_classes(self) -> int:
        return len(self.classes)


class Dataset(ABC):
    """Base class of all datasets. A subclass states its facts in the constructor and reads its images in ``load``.

    Args:
        name, classes, channels, image_size: as in :class:`DataSpec`.
        counts: training images of each class before ``limit`` and ``validation``.
        mean, std: per channel, in [0, 1] units; one value stands for all channels.
        augmentation: augmentation of training images, or None.
        limit: training images to keep of each class, chosen by ``seed``, or None for all. A smaller limit keeps a
            subset of what a larger one keeps. The validation and test splits do not change.
        validation: fraction of each class's training images to hold out, chosen by ``seed``; 0 for none.
        seed: seed of these choices. It is not the seed of a run, so all runs see the same splits.
        has_validation: whether the data comes with a validation split.

    Attributes:
        resize: size of a test image's shorter side before the center is cropped; None if its largest centered square
            is resampled instead.
        lists_classes: whether the folders in ``root`` are the classes, so that nothing else may be put there.
        notes: on the images, for the user.
        untrainable: why nothing can be trained on the images, which can be evaluated; empty if it can.
        drawn_fraction: fraction of each class that was drawn as the test split; None if the data comes with one.
        unreadable: the damaged files that were skipped so far, and why; disk loaders add to it.

    Raises:
        UserError: An argument is out of its range, a class has too few images for ``validation``, or the images are too
            small for the augmentation.
    """

    resize: int | None = None
    lists_classes: ClassVar[bool] = False
    notes: Sequence[str] = ()
    untrainable: str = ""
    drawn_fraction: float | None = None

    def __init__(
        self,
        *,
        name: str,
        classes: Sequence[str],
        channels: int,
        image_size: int,
        counts: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None,
        limit: int | None,
        validation: float,
        seed: int,
        has_validation: bool = False,
    ):
        if limit is not None and limit < 1:
            raise UserError(f"dataset.limit={limit}: must be at least 1 image of each class, or null for all.")
        if not 0 <= validation < 1:
            raise UserError(f"dataset.validation={validation}: must be a fraction, from 0 (none) to below 1.")
        if image_size < 1:
            raise UserError(f"dataset.image_size={image_size}: must be at least 1 pixel.")
        if validation:
            require_two_images(classes, counts, f"dataset.validation={validation}")
        self.mean = _per_channel("mean", mean, channels)
        self.std = _per_channel("std", std, channels)
        if min(self.std) <= 0:
            raise UserError(f"dataset.std={list(std)}: must be above 0.")
        self.augmentation = augmentation or Augmentation()
        self.augmentation.check_images(image_size, channels)
        self.unreadable: dict[str, str] = {}
        self.limit = limit
        self.validation = validation
        self.seed = seed
        kept = [count - held_out_size(count, validation) for count in counts]
        self.spec = DataSpec(
            name=name,
            classes=tuple(classes),
            channels=channels,
            image_size=image_size,
            counts=tuple(kept if limit is None else [min(count, limit) for count in kept]),
            has_validation=has_validation or validation > 0,
        )

    @property
    def is_random(self) -> bool:
        """Whether training images are augmented at random, so that two views of an image differ."""
        return self.augmentation.is_random

    @abstractmethod
    def load(self) -> Splits:
        """Read the images.

        Raises:
            UserError: The images cannot be found, read or stored.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Identify the images by their contents, not by their location or the options that select among them.

        Every run takes the fingerprint when it starts, so this must not read everything each time. Runs are compared
        by `mcl.data.fingerprint.same_images`.

        Raises:
            UserError: A file cannot be read, or is damaged.
        """

    def select(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return ascending indices of the training images that are kept and of those held out for validation."""
        kept, held_out = split(labels, self.validation, stream="validation", seed=self.seed)
        if self.limit is not None:
            kept = kept[_limit_classes(labels[kept], self.limit, seed=self.seed)]
        return kept, held_out


class InMemoryDataset(Dataset):
    """A dataset that is read completely before ``limit`` and ``validation`` select from it."""

    @abstractmethod
    def read(self) -> tuple[Images, Images]:
        """Read the training and the test split.

        Raises:
            UserError: The images cannot be found, read or stored.
        """

    def load(self) -> Splits:
        train, test = self.read()
        kept, held_out = self.select(train.labels)
        return Splits(train.take(kept), test, train.take(held_out) if self.validation else None)


def take_rows(tensor: Tensor, indices: Tensor) -> Tensor:
    """Return ``tensor[indices]`` for ascending indices; a view if they form a range, so that a memory map stays one."""
    if len(indices) == 0:
        return tensor[:0]
    first, last = int(indices[0]), int(indices[-1])
    is_range = last - first + 1 == len(indices)
    return tensor[first : last + 1] if is_range else tensor[indices]


def held_out_size(count: int, fraction: float) -> int:
    """Return how many of ``count`` images a fraction holds out: at least one and never all, unless it is 0."""
    return max(0, min(max(1, round(count * fraction)), count - 1)) if fraction else 0


def split(labels: Tensor, fraction: float, *, stream: str, seed: int) -> tuple[Tensor, Tensor]:
    """Split labels (N,) class by class. Return ascending indices of the rest and of the held-out fraction."""
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for members in _shuffled_classes(labels, stream, seed):
        held_out[members[: held_out_size(len(members), fraction)]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def require_two_images(classes: Sequence[str], counts: Sequence[int], option: str) -> None:
    """Raise UserError if a split would leave a class without images on one side."""
    small = [name for name, count in zip(classes, counts, strict=True) if count < 2]
    if small:
        raise UserError(
            f"{option} splits each class, but these have fewer than two images: {summarize(small)}. "
            "Add images, or remove the class."
        )


def _shuffled_classes(labels: Tensor, stream: str, seed: int) -> list[Tensor]:
    """Return the indices of each class, in a random order that depends on this class alone."""
    classes = labels.argsort(stable=True).split(labels.bincount().tolist())
    orders = (torch.randperm(len(c), generator=generator(stream, seed, label)) for label, c in enumerate(classes))
    return [members[order] for members, order in zip(classes, orders, strict=True)]


def _limit_classes(labels: Tensor, limit: int, *, seed: int) -> Tensor:
    """Return ascending indices of ``limit`` random images of each class."""
    return torch.cat([members[:limit] for members in _shuffled_classes(labels, "limit", seed)]).sort().values


def _per_channel(option: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) not in (1, channels):
        raise UserError(f"dataset.{option}={list(numbers)}: give 1 value, or {channels}, one for each channel.")
    if max(numbers) > 1:
        raise UserError(
            f"dataset.{option}={list(numbers)}: pixels are in [0, 1], so no value is above 1. Divide those of pixels in"
            f" [0, 255] by 255: dataset.{option}=[{','.join(f'{number / 255:.4g}' for number in numbers)}]."
        )
    return numbers if len(numbers) == channels else numbers * channels
