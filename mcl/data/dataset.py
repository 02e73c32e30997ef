"""The interface of datasets: cheap facts first (``spec``), images on request (``load``)."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.data.augmentation import Augmentation
from mcl.data.image_files import ImageFiles
from mcl.data.seeding import generator
from mcl.errors import UserError


class Images(NamedTuple):
    """Images with their labels."""

    images: Tensor  # (N, channels, height, width) uint8
    labels: Tensor  # (N,) int64

    def take(self, indices: Tensor) -> "Images":
        """The images at ascending ``indices`` (M,)."""
        return Images(take_rows(self.images, indices), take_rows(self.labels, indices))

    def to(self, device: torch.device | str) -> "Images":
        """The same on ``device``.

        Raises:
            UserError: they do not fit there.
        """
        try:
            return Images(self.images.to(device), self.labels.to(device))
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{len(self.labels):,} images ({self.images.nbytes / 1e9:.1f} GB) do not fit on {device}. Lower"
                " dataset.image_size or set dataset.limit; with dataset=folder, dataset.storage=disk reads them as"
                " training goes."
            ) from error


class Splits(NamedTuple):
    """The parts of a dataset. ``validation`` was taken out of the training part, or came with the data."""

    train: Images | ImageFiles
    test: Images | ImageFiles
    validation: Images | ImageFiles | None


@dataclass(frozen=True)
class DataSpec:
    """What is known of a dataset before any image is read.

    Args:
        name: what results call it.
        classes: class names, by label.
        channels: 1 or 3.
        image_size: side of the square images, in pixels.
        counts: training images of each class, after ``limit`` and ``validation``.
        has_validation: whether there is a validation part.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    image_size: int
    counts: tuple[int, ...]
    has_validation: bool

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)


class Dataset(ABC):
    """Base of all datasets. A subclass says what it is in its constructor and reads its images in ``load``.

    Args:
        name, classes, channels, image_size: as in :class:`DataSpec`.
        counts: training images of each class before ``limit`` and ``validation``.
        mean, std: per channel, in [0, 1] units; one value stands for all channels.
        augmentation: what is done to training images; None leaves them as they are.
        limit: training images kept of each class, chosen by ``seed``; smaller limits choose among the images of larger
            ones. None keeps all. The validation and test parts do not change.
        validation: fraction of each class's training images held out, chosen by ``seed``; 0 for none.
        seed: of these choices. It is not the seed of a run, so that all runs see the same parts.
        has_validation: the data comes with a validation part of its own.

    Attributes:
        resize: to what the shorter side of a test image is resized before its centre is cut out; None where the
            largest centred square is.
    """

    resize: int | None = None

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
            raise UserError(f"dataset.validation={validation}: a fraction from 0 (none) to below 1.")
        if image_size < 1:
            raise UserError(f"dataset.image_size={image_size}: must be at least 1 pixel.")
        if validation:
            require_two_images(classes, counts, f"dataset.validation={validation}")
        self.mean = _per_channel("mean", mean, channels)
        self.std = _per_channel("std", std, channels)
        if min(self.std) <= 0:
            raise UserError(f"dataset.std={list(std)}: must be above 0.")
        self.augmentation = augmentation or Augmentation()
        self.limit = limit
        self.validation = validation
        self.seed = seed
        kept = (count - held_out_size(count, validation) for count in counts)
        self.spec = DataSpec(
            name=name,
            classes=tuple(classes),
            channels=channels,
            image_size=image_size,
            counts=tuple(count if limit is None else min(count, limit) for count in kept),
            has_validation=has_validation or validation > 0,
        )

    @abstractmethod
    def load(self) -> Splits:
        """Read the images."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Identify the images by what is in them, whatever part of them the options choose and wherever they lie.

        It is taken at every start, so it must not read everything each time. Runs are compared by it:
        `mcl.data.fingerprint.same_images`.
        """

    def select(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Indices (ascending) of the training images that ``limit`` and ``validation`` keep and hold out."""
        kept, held_out = split(labels, self.validation, stream="validation", seed=self.seed)
        if self.limit is not None:
            kept = kept[_first_of_each_class(labels[kept], self.limit, seed=self.seed)]
        return kept, held_out


class InMemoryDataset(Dataset):
    """A dataset that is read whole, of which ``limit`` and ``validation`` then choose."""

    @abstractmethod
    def read(self) -> tuple[Images, Images]:
        """The training and the test part."""

    def load(self) -> Splits:
        train, test = self.read()
        kept, held_out = self.select(train.labels)
        return Splits(train.take(kept), test, train.take(held_out) if self.validation else None)


def take_rows(tensor: Tensor, indices: Tensor) -> Tensor:
    """``tensor[indices]`` of ascending indices; a view where these are a range, so that a memory map stays one."""
    first, count = (int(indices[0]), len(indices)) if len(indices) else (0, 0)
    if count == 0 or int(indices[-1]) - first + 1 == count:
        return tensor[first : first + count]
    return tensor[indices]


def held_out_size(count: int, fraction: float) -> int:
    """How many of ``count`` images a fraction holds out: at least one and never all, unless the fraction is 0."""
    return max(0, min(max(1, round(count * fraction)), count - 1)) if fraction else 0


def split(labels: Tensor, fraction: float, *, stream: str, seed: int) -> tuple[Tensor, Tensor]:
    """Cut labels (N,) class by class: indices (ascending) of the rest and of the held-out fraction."""
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for members in _shuffled_classes(labels, stream, seed):
        held_out[members[: held_out_size(len(members), fraction)]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def require_two_images(classes: Sequence[str], counts: Sequence[int], option: str) -> None:
    """A split leaves at least one image of each class on either side."""
    small = [name for name, count in zip(classes, counts, strict=True) if count < 2]
    if small:
        raise UserError(
            f"{option} splits each class, but these have fewer than two images: {some(small)}. "
            "Add images, or remove the class."
        )


def digest(parts: Iterable[object]) -> str:
    """A short hash of values, by their ``repr``."""
    state = hashlib.sha256()
    for part in parts:
        state.update(repr(part).encode())
        state.update(b"\n")
    return state.hexdigest()[:16]


def some(names: Sequence[object], most: int = 5) -> str:
    """``a, b, c, d, e and 3 more``."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _shuffled_classes(labels: Tensor, stream: str, seed: int) -> list[Tensor]:
    """The indices of each class in a random order that depends on this class alone."""
    members = labels.argsort(stable=True).split(labels.bincount().tolist())
    return [of[torch.randperm(len(of), generator=generator(stream, seed, k))] for k, of in enumerate(members)]


def _first_of_each_class(labels: Tensor, limit: int, *, seed: int) -> Tensor:
    """Indices (ascending) of ``limit`` random images of each class."""
    return torch.cat([members[:limit] for members in _shuffled_classes(labels, "limit", seed)]).sort().values


def _per_channel(option: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    given = tuple(float(value) for value in values)
    if len(given) not in (1, channels):
        raise UserError(f"dataset.{option}={list(given)}: give 1 value, or {channels}, one for each channel.")
    return given if len(given) == channels else given * channels
