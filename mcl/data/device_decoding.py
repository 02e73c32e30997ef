"""Decode JPEG files on the device (nvJPEG on a GPU), and crop, resize and flip a batch there.

The crops are those of Pillow (`mcl.data.resizing`). nvJPEG computes the inverse transform and the colors in another
way than libjpeg, so its pixels differ by a few levels.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mcl.data.encoded import EncodedBatch
from mcl.data.placement import DeviceCrop
from mcl.data.resizing import resize_parts

LARGEST = 2**28  # bytes of float pixels at a time


def decode_batch(batch: EncodedBatch, crop: DeviceCrop, device: torch.device) -> tuple[Tensor, list[int]]:
    """Decode and crop a batch.

    Args:
        batch: B images, encoded or already decoded and cropped.
        crop: size and channels of the crops.
        device: where to decode.

    Returns:
        (B, channels, size, size) uint8 on the device, and the positions of images that cannot be decoded there.
    """
    lengths, size = batch.lengths.tolist(), crop.size
    images = torch.empty((len(lengths), crop.channels, size, size), dtype=torch.uint8, device=device)
    encoded = [i for i, length in enumerate(lengths) if length]
    if len(encoded) < len(lengths):
        ready = [i for i, length in enumerate(lengths) if not length]
        images[ready] = batch.decoded.to(device, non_blocking=True)
    contents = batch.content.split([lengths[i] for i in encoded])
    pixels = dict(zip(encoded, decode_jpegs(contents, crop.channels, device), strict=True))
    for chunk in _chunks({i: image for i, image in pixels.items() if image is not None}):
        rows = list(chunk)
        images[rows] = crop_and_resize(
            list(chunk.values()), batch.boxes[rows], batch.bounds[rows], batch.flips[rows], size
        )
    return images, [i for i, image in pixels.items() if image is None]


def decode_jpegs(contents: Sequence[Tensor], channels: int, device: torch.device) -> list[Tensor | None]:
    """Decode JPEG files (bytes,) to (channels, height, width) uint8 on the device; None for those that fail."""
    from torchvision.io import ImageReadMode, decode_jpeg  # slow to import

    mode = ImageReadMode.RGB if channels == 3 else ImageReadMode.GRAY

    def decode_one(content: Tensor) -> Tensor | None:
        try:
            image: Tensor = decode_jpeg(content, mode, device=device)
        except RuntimeError:
            return None
        return image

    if device.type == "cuda":
        # torchvision decodes on a stream of its own, into memory that kernels on this one may still read.
        torch.cuda.current_stream(device).synchronize()
    try:
        return list(decode_jpeg(list(contents), mode, device=device))
    except RuntimeError:  # one of them is damaged, or of a kind that nvJPEG does not know
        return [decode_one(content) for content in contents]


def crop_and_resize(images: Sequence[Tensor], boxes: Tensor, bounds: Tensor, flips: Tensor, size: int) -> Tensor:
    """Resize a part of each image to a square, and flip some of them left to right.

    Args:
        images: B images (channels, height, width) uint8 of any size, on one device.
        boxes, bounds: (B, 4), left, top, right and bottom; see `mcl.data.placement.Placement`.
        flips: (B,) bool.
        size: side of the squares, in pixels.

    Returns:
        (B, channels, size, size) uint8.
    """
    device, channels = images[0].device, len(images[0])
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    padded = torch.zeros(len(images), channels, height, width, dtype=torch.uint8, device=device)
    for image, room in zip(images, padded, strict=True):
        room[:, : image.shape[1], : image.shape[2]] = image
    boxes, bounds, flips = (tensor.to(device, non_blocking=True) for tensor in (boxes, bounds, flips))
    return resize_parts(padded, boxes, bounds, flips, size, size)


def _chunks(images: dict[int, Tensor]) -> Iterator[dict[int, Tensor]]:
    """Split a batch so that its padded images fit into `LARGEST`, if each does."""
    chunk: dict[int, Tensor] = {}
    height = width = 0
    for i, image in images.items():
        channels, taller, wider = len(image), max(height, image.shape[1]), max(width, image.shape[2])
        if chunk and 4 * (len(chunk) + 1) * channels * taller * wider > LARGEST:
            yield chunk
            chunk, taller, wider = {}, image.shape[1], image.shape[2]
        chunk[i], height, width = image, taller, wider
    if chunk:
        yield chunk
