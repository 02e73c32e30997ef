"""Resize a part of each image of a batch, as Pillow does.

The filter is bilinear with antialiasing, first along rows, then along columns, each rounded to eight bits. For a batch
these are two batched matrix products with one matrix of filter weights for each image and direction; a flip reverses
the order of the columns of one of them. So a part that needs no resizing is exact.
"""

import torch
from torch import Tensor

from mcl.devices import tf32


@tf32(allowed=False)  # the same pixels whatever the precision of the networks
def resize_parts(images: Tensor, boxes: Tensor, bounds: Tensor, flips: Tensor, height: int, width: int) -> Tensor:
    """Resize a part of each image, and flip some of them left to right.

    Args:
        images: (B, C, H, W) uint8.
        boxes, bounds: (B, 4), left, top, right and bottom of the part, and of the pixels that may contribute to it.
        flips: (B,) bool.
        height, width: of the result.

    Returns:
        (B, C, height, width) uint8.
    """
    across = _weights(boxes[:, 0::2], bounds[:, 0::2], images.shape[3], width)  # (B, width, W)
    across = torch.where(flips[:, None, None], across.flip(1), across)
    down = _weights(boxes[:, 1::2], bounds[:, 1::2], images.shape[2], height)  # (B, height, H)
    rows = _round(images.float() @ across.mT[:, None])  # (B, C, H, width)
    return _round(down[:, None] @ rows).to(torch.uint8)


def _weights(ends: Tensor, bounds: Tensor, length: int, size: int) -> Tensor:
    """Return the weights (B, size, length) of the pixels of a line in each pixel of the resized line.

    Args:
        ends: (B, 2), first and last edge of the part that is resized.
        bounds: (B, 2), edges of the pixels that may contribute.
        length: pixels of a line.
        size: pixels of the resized line.
    """
    start, end = ends.unbind(1)
    scale = ((end - start) / size)[:, None, None]
    reach = scale.clamp(min=1.0)  # of the triangular filter: antialiasing widens it when the image shrinks
    step = torch.arange(size, device=ends.device, dtype=ends.dtype)[:, None] + 0.5
    centers = start[:, None, None] + step * scale  # (B, size, 1)
    first, last = bounds[:, None, None].unbind(-1)
    pixels = torch.arange(length, device=ends.device, dtype=ends.dtype)  # (length,)
    inside = (pixels >= first) & (pixels < last)
    weights = (1.0 - (pixels + 0.5 - centers).abs() / reach).clamp(min=0.0) * inside
    return (weights / weights.sum(-1, keepdim=True)).float()


def _round(values: Tensor) -> Tensor:
    return (values + 0.5).floor_().clamp_(0.0, 255.0)
