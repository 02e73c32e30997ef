"""Turn image files into the input of a trained network."""

import math
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
from mcl.untrusted.limits import MAX_SIZE
from mcl.untrusted.text import shorten


@dataclass(frozen=True)
class Preprocessing:
    """Decodes and normalizes images as a network expects them."""

    channels: int  # 3 (color) or 1 (gray); images are converted
    image_size: int  # side in pixels; the largest centered square of an image is resampled to it
    mean: tuple[float, ...]  # per channel, in [0, 1] units
    std: tuple[float, ...]
    resize: int | None = None  # resize the shorter side to this and crop the center instead

    @classmethod
    def of(cls, dataset: Dataset) -> "Preprocessing":
        """Return the preprocessing of a dataset's test images."""
        return cls(dataset.spec.channels, dataset.spec.image_size, dataset.mean, dataset.std, dataset.resize)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (channels, height, width) of an image."""
        return self.channels, self.image_size, self.image_size

    def __call__(self, *paths: str | os.PathLike[str]) -> Tensor:
        """Read image files as one batch (B, channels, image_size, image_size) float32.

        Raises:
            UserError: A file cannot be read as an image.
        """
        return self.normalize(torch.stack([self._read(Path(path)) for path in paths]))

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize (B, channels, height, width) uint8 to float32."""
        return Normalization(self.mean, self.std, device=images.device)(images)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for a file."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Any) -> "Preprocessing":
        """Build from the plain values in a file.

        Raises:
            UserError: They do not describe a preprocessing.
        """
        try:
            resize = values.get("resize")
            result = cls(
                channels=int(values["channels"]),
                image_size=int(values["image_size"]),
                mean=tuple(float(value) for value in values["mean"]),
                std=tuple(float(value) for value in values["std"]),
                resize=None if resize is None else int(resize),
            )
            if not (len(result.mean) == len(result.std) == result.channels in (1, 3)):
                raise ValueError("one value for each of 1 or 3 channels")
            sizes = (result.image_size, result.resize or 1)
            if min(*sizes) <= 0 or not 0 < min(result.std) < math.inf or max(*sizes) > MAX_SIZE:
                raise ValueError("not positive, or too large")
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{shorten(values)} is not a preprocessing of images.") from error
        return result

    def _read(self, path: Path) -> Tensor:
        try:
            return torch.from_numpy(decode(path, self.image_size, self.channels, self.resize).copy())
        except Exception as error:  # a damaged file can raise anything
            raise UserError(f"{path} cannot be read as an image: {error}") from error
