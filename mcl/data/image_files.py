"""A split of a dataset that stays on disk and is read during training."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mcl.data.decoding import Read, decode, open_image, read_file, to_channels_first
from mcl.data.placement import DeviceCrop
from mcl.errors import UserError
from mcl.torchrun import local_world_size

MAX_WORKERS = 16
NAMED = 10  # unreadable files that a message names
Decode = Callable[[Path], Any]  # NDArray[np.uint8], or what `mcl.data.encoded.Encode` makes of it in a worker


@dataclass(frozen=True)
class ImageFiles:
    """Image files with their labels.

    ``decode`` turns a file into (channels, height, width) uint8, all of one size. It may draw from torch's global
    generator, which is seeded for each image.
    """

    root: Path  # folder that the paths start from
    paths: NDArray[np.bytes_]  # (N,); a million Python strings would gradually be copied into every worker process
    labels: Tensor  # (N,) int64
    decode: Decode
    skip: bool  # replace unreadable files and count them, instead of stopping
    workers: int  # processes that read
    decode_plainly: Decode | None = None  # without random transforms, for evaluation; None if ``decode`` has none
    device_crop: DeviceCrop | None = None  # if the device decodes; ``decode`` makes the same crop of other files
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason, of the files that were skipped so far

    def take(self, indices: Tensor) -> "ImageFiles":
        """Return the files at ``indices``."""
        return replace(self, paths=self.paths[indices.numpy()], labels=self.labels[indices])

    def to(self, device: torch.device | str) -> "ImageFiles":
        """Return the same object, since files stay where they are."""
        return self

    def for_evaluation(self) -> "ImageFiles":
        """Return the same files, read without random transforms."""
        return replace(self, decode=self.decode_plainly or self.decode, device_crop=None)

    def path(self, position: int) -> Path:
        """Return the path of one file."""
        return self.root / os.fsdecode(bytes(self.paths[position]))


@dataclass(frozen=True)
class CenterSquare:
    """Decodes the largest centered square of an image, as in decoded folders (`mcl.data.decoding.decode`)."""

    size: int
    channels: int
    resize: int | None = None
    read: Read = read_file

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        return decode(path, self.size, self.channels, self.resize, self.read)


@dataclass(frozen=True)
class TransformPipeline:
    """Decodes an image and applies transforms in order, such as those of ``torchvision.transforms.v2``.

    The first takes a PIL image, the last returns one or a uint8 tensor (channels, height, width).
    """

    transforms: Sequence[Callable[..., object]]
    size: int  # side of the resulting square, in pixels
    channels: int  # 3 or 1; images are converted first

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        image: object = open_image(read_file(path), self.channels)
        for transform in self.transforms:
            image = transform(image)
        if isinstance(image, Image.Image):
            pixels = to_channels_first(image)
        elif isinstance(image, Tensor):
            pixels = image.numpy()
        else:
            raise TypeError(f"dataset.transform returns a {type(image).__name__}, not an image")
        expected = (self.channels, self.size, self.size)
        if pixels.shape != expected or pixels.dtype != np.uint8:
            raise TypeError(
                f"dataset.transform returns {pixels.dtype} of shape {pixels.shape}, not uint8 of {expected};"
                " normalization comes later, on the device"
            )
        return pixels


def as_bytes(paths: Sequence[str]) -> NDArray[np.bytes_]:
    """Return paths as one array."""
    return np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)


def check_workers(workers: int | None) -> int:
    """Return ``dataset.workers``, or by default this process's share of the cores, at most ``MAX_WORKERS``.

    Raises:
        UserError: The number is negative.
    """
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(MAX_WORKERS, cores // local_world_size()))
    if workers < 0:
        raise UserError(f"dataset.workers={workers}: must be 0 (the training process reads) or more.")
    return workers
