"""Random crops and flips of a whole batch at once, on the device that holds the images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mcl.errors import UserError


@dataclass(frozen=True)
class Augmentation:
    """Zero-pad and crop at a random place, then flip half of the images left to right.

    Drawing is apart from applying: the draws come from a CPU generator, so they are the same on every device, and a
    whole epoch of them moves to the device at once.

    Args:
        padding: black pixels on each side before the crop to the old size; 0 for no crop.
        flip: whether to flip.
    """

    padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise UserError(f"dataset.augmentation.padding={self.padding}: must not be negative.")

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, 3) int64: top and left edge of the crop in the padded image, and whether to flip."""
        edges = torch.randint(2 * self.padding + 1, (count, 2), generator=generator)
        flips = torch.randint(2, (count, 1), generator=generator) * int(self.flip)
        return torch.cat([edges, flips], dim=1)

    def apply(self, images: Tensor, indices: Tensor, draws: Tensor) -> Tensor:
        """Crop and flip the images at ``indices``.

        Args:
            images: (N, C, H, W) uint8.
            indices: (B,) int64.
            draws: (B, 3) of :meth:`draw`.

        Returns:
            (B, C, H, W) uint8, black where the crop leaves the image.
        """
        chosen = images[indices]
        if self.padding == 0 and not self.flip:
            return chosen
        height, width = images.shape[2:]
        top, left, flipped = draws[:, :, None].unbind(1)  # (B, 1) each
        x = torch.arange(width, device=images.device)
        rows = torch.arange(height, device=images.device) + top - self.padding  # (B, H)
        columns = torch.where(flipped.bool(), width - 1 - x, x) + left - self.padding  # (B, W)
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
        places = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]  # (B, H, W)
        places = places.flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return chosen.flatten(2).gather(2, places).view_as(chosen) * inside[:, None]
