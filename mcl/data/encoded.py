"""JPEG files as workers hand them on when the device decodes: encoded, with the place of the crop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mcl.data.decoding import read_file
from mcl.data.placement import DeviceCrop, Placement

_ORIENTATION, _UPRIGHT = 0x0112, 1  # of EXIF
_END = b"\xff\xd9"  # a JPEG file without it may be truncated, which a GPU need not notice
_MODES = {3: ("RGB", "L"), 1: ("L",)}  # of JPEG files that both decoders convert alike


class Encoded(NamedTuple):
    """A JPEG file in memory."""

    content: NDArray[np.uint8]
    placement: Placement


@dataclass(frozen=True)
class Encode:
    """Reads a file and leaves the decoding to the device; what is no plain JPEG file is decoded here."""

    decode: Callable[[Path], NDArray[np.uint8]]
    crop: DeviceCrop

    def __call__(self, path: Path) -> NDArray[np.uint8] | Encoded:
        content = read_file(path)
        try:
            with Image.open(content) as header:
                if content.getbuffer()[-2:] != _END or not self._is_plain_jpeg(header):
                    return self.decode(path)
                placement = self.crop.place(header)
        except UnidentifiedImageError:
            return self.decode(path)  # which explains it
        return Encoded(np.frombuffer(content.getbuffer(), np.uint8), placement)

    def _is_plain_jpeg(self, header: Image.Image) -> bool:
        upright = header.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT
        return header.format == "JPEG" and header.mode in _MODES[self.crop.channels] and upright


class EncodedBatch(NamedTuple):
    """A batch of which some images are encoded."""

    content: Tensor  # (bytes,) uint8: encoded images one after the other
    lengths: Tensor  # (B,) bytes of each; 0 for decoded images
    boxes: Tensor  # (B, 4) float64, as are the bounds; see `Placement`
    bounds: Tensor
    flips: Tensor  # (B,) bool
    decoded: Tensor  # (number of decoded images, channels, height, width) uint8, in order


def pack(images: Sequence[NDArray[np.uint8] | Encoded]) -> Tensor | EncodedBatch:
    """Return images as one tensor, if all are decoded, or as few tensors, which move between processes fast."""
    decoded = [image for image in images if not isinstance(image, Encoded)]
    if len(decoded) == len(images):
        return torch.from_numpy(np.stack(decoded) if decoded else np.empty((0, 0, 0, 0), np.uint8))
    encoded = [image if isinstance(image, Encoded) else None for image in images]
    nowhere = Placement((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0))
    placements = [nowhere if image is None else image.placement for image in encoded]
    return EncodedBatch(
        torch.from_numpy(np.concatenate([image.content for image in encoded if image is not None])),
        torch.tensor([0 if image is None else len(image.content) for image in encoded]),
        torch.tensor([placement.box for placement in placements], dtype=torch.float64),
        torch.tensor([placement.bounds for placement in placements], dtype=torch.float64),
        torch.tensor([placement.flip for placement in placements]),
        torch.from_numpy(np.stack(decoded)) if decoded else torch.empty(0, dtype=torch.uint8),
    )
