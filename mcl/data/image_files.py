"""A part of a dataset that stays on disk; its files are read during training."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mcl.data.decoding import decode, open_image, read_file
from mcl.errors import UserError

MOST_WORKERS = 16
Decode = Callable[[Path], NDArray[np.uint8]]


@dataclass(frozen=True)
class ImageFiles:
    """Image files with their labels.

    Args:
        root: folder that the paths start from.
        paths: (N,) of bytes: a million Python strings would be copied into every worker process, little by little.
        labels: (N,) int64.
        decode: one file to (channels, height, width) uint8, all of one size. It may draw from torch's global generator,
            which is seeded for each image.
        skip: what to do about an unreadable file: take another one instead and count it, or stop.
        workers: processes that read.
        decode_plainly: the same without anything random, for evaluation; None if ``decode`` is so already.
    """

    root: Path
    paths: NDArray[np.bytes_]
    labels: Tensor
    decode: Decode
    skip: bool
    workers: int
    decode_plainly: Decode | None = None

    def take(self, indices: Tensor) -> "ImageFiles":
        """The files at ``indices``."""
        return replace(self, paths=self.paths[indices.numpy()], labels=self.labels[indices])

    def to(self, device: torch.device | str) -> "ImageFiles":
        """The same: files stay where they are."""
        return self

    def for_evaluation(self) -> "ImageFiles":
        """The same files, read without anything random."""
        return replace(self, decode=self.decode_plainly or self.decode)

    def path(self, position: int) -> Path:
        """Of one file."""
        return self.root / os.fsdecode(bytes(self.paths[position]))


@dataclass(frozen=True)
class CenterSquare:
    """The largest centred square of an image, resampled: what decoded folders hold (`mcl.data.decoding.decode`)."""

    size: int
    channels: int
    resize: int | None = None

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        return decode(path, self.size, self.channels, self.resize)


@dataclass(frozen=True)
class TransformPipeline:
    """An image after random transforms, such as those of ``torchvision.transforms.v2``, one after the other.

    Args:
        transforms: the first takes a PIL image, the last gives one or a uint8 tensor (channels, height, width).
        size: side of the square that must come out, in pixels.
        channels: 3 or 1; images are converted.
    """

    transforms: Sequence[Callable[..., object]]
    size: int
    channels: int

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        image: object = open_image(read_file(path), self.channels)
        for transform in self.transforms:
            image = transform(image)
        if isinstance(image, Image.Image):
            pixels = np.asarray(image)
            pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        elif isinstance(image, Tensor):
            pixels = image.numpy()
        else:
            raise TypeError(f"dataset.transform gives a {type(image).__name__}, not an image")
        wanted = (self.channels, self.size, self.size)
        if pixels.shape != wanted or pixels.dtype != np.uint8:
            raise TypeError(
                f"dataset.transform gives {pixels.dtype} of shape {pixels.shape}, not uint8 of {wanted}: normalisation"
                " comes later, on the device"
            )
        return pixels


def as_bytes(paths: Sequence[str]) -> NDArray[np.bytes_]:
    """Paths as one array."""
    return np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)


def check_workers(workers: int | None) -> int:
    """``dataset.workers``, or as many as are sensible for this process, of which torchrun may have started several."""
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    if workers < 0:
        raise UserError(f"dataset.workers={workers}: 0 (read in the process that trains) or more.")
    return workers
