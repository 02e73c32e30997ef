"""Turn an image file into the input of a trained network."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mcl.data.dataset import Dataset
from mcl.data.decoding import decode
from mcl.data.normalization import Normalization
from mcl.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """What images go through before a network sees them.

    Args:
        channels: 3 colour, 1 grey; images are converted.
        image_size: side in pixels, of the largest centred square of an image, resampled.
        mean, std: per channel, in [0, 1] units.
        resize: resize the shorter side to this, then cut out the centre; None for the largest square.
    """

    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> "Preprocessing":
        """That of a dataset's test images."""
        return cls(dataset.spec.channels, dataset.spec.image_size, dataset.mean, dataset.std, dataset.resize)

    def __call__(self, *paths: str | os.PathLike[str]) -> Tensor:
        """Image files to one batch (B, channels, image_size, image_size) float32.

        Raises:
            UserError: a file cannot be read as an image.
        """
        return self.normalize(torch.stack([self._read(Path(path)) for path in paths]))

    def normalize(self, images: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 to float32, normalised."""
        return Normalization(self.mean, self.std, device=images.device)(images)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Any) -> "Preprocessing":
        """From the plain values in a file.

        Raises:
            UserError: these are none.
        """
        try:
            mean, std = (tuple(float(value) for value in values[name]) for name in ("mean", "std"))
            resize = values.get("resize")
            made = cls(
                int(values["channels"]), int(values["image_size"]), mean, std, None if resize is None else int(resize)
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{values!r} is no preprocessing of images.") from error
        if not (len(mean) == len(std) == made.channels in (1, 3) and made.image_size > 0 and min(std) > 0):
            raise UserError(f"{values!r} is no preprocessing of images.")
        return made

    def _read(self, path: Path) -> Tensor:
        try:
            return torch.from_numpy(decode(path, self.image_size, self.channels, self.resize).copy())
        except Exception as error:  # a damaged file can raise anything
            raise UserError(f"{path} cannot be read as an image: {error}") from error
