"""Random rectangles in images, drawn as torchvision draws those of random resized crops and of random erasing."""

import math

import torch
from torch import Tensor

COLUMNS = 4
_TRIES = 10


def draw_boxes(count: int, area: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Draw rectangles whose size and shape are uniform, the shape on a logarithmic scale.

    Args:
        count: number of rectangles.
        area: least and largest share of the image.
        ratio: least and largest width, in heights. Images are square.
        generator: of the CPU.

    Returns:
        (count, 4) float64: height and width as shares of the image's, and where the rectangle lies in the room that it
        leaves, from 0 (top, left) to 1. Height and width are 0 if none of ten tries fits into the image.
    """
    numbers = torch.rand(count, 2 * _TRIES + 2, generator=generator, dtype=torch.float64)
    areas = area[0] + (area[1] - area[0]) * numbers[:, :_TRIES]
    low, high = map(math.log, ratio)
    ratios = (low + (high - low) * numbers[:, _TRIES : 2 * _TRIES]).exp()
    sizes = torch.stack([(areas / ratios).sqrt(), (areas * ratios).sqrt()], dim=-1)  # (count, tries, 2)
    fits = (sizes <= 1).all(-1)
    first = fits.to(torch.uint8).argmax(1)  # 0 if none fits
    chosen = sizes[torch.arange(count), first] * fits.any(1, keepdim=True)
    return torch.cat([chosen, numbers[:, 2 * _TRIES :]], dim=1)


def edges(boxes: Tensor, height: int, width: int, *, least: int) -> Tensor:
    """Return (B, 4) int64, left, top, right and bottom in pixels, of `draw_boxes` in images of this size.

    Args:
        boxes: (B, 4) from `draw_boxes`.
        height, width: of the images.
        least: pixels that a side has at least.
    """
    down, across, below, beside = boxes.unbind(1)
    tall, wide = ((share * side).round().long().clamp(least, side) for share, side in ((down, height), (across, width)))
    top, left = (
        (place * (side - length + 1)).long() for place, side, length in ((below, height, tall), (beside, width, wide))
    )
    return torch.stack([left, top, left + wide, top + tall], dim=1)


def inside(corners: Tensor, height: int, width: int) -> Tensor:
    """Return (B, 1, height, width) bool: which pixels lie in rectangles (B, 4) of left, top, right and bottom."""
    left, top, right, bottom = corners[:, :, None].unbind(1)  # (B, 1) each
    x, y = (torch.arange(side, device=corners.device) for side in (width, height))
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return (rows[:, :, None] & columns[:, None])[:, None]
