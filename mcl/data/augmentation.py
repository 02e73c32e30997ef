"""Random crops and flips of a whole batch at once, on the device that holds the images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mcl.errors import UserError


@dataclass(frozen=True)
class Augmentation:
    """Zero-pad, crop at a random place, then flip half of the images left to right.

    Drawing is separate from applying. The draws come from a CPU generator, so they are the same on every device, and
    those of a whole epoch move to the device at once.

    Args:
        padding: black pixels added on each side before the crop to the original size; 0 for no crop.
        flip: whether to flip.
    """

    padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise UserError(f"dataset.augmentation.padding={self.padding}: must not be negative.")

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, 3) int64: top and left edge of the crop in the padded image, and whether to flip."""
        edges = torch.randint(2 * self.padding + 1, (count, 2), generator=generator)
        flips = torch.randint(2, (count, 1), generator=generator) * int(self.flip)
        return torch.cat([edges, flips], dim=1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Crop and flip a batch.

        Args:
            images: (B, C, H, W) uint8.
            draws: (B, 3), from :meth:`draw`.

        Returns:
            (B, C, H, W) uint8, black where the crop leaves the image.
        """
        if self.padding == 0 and not self.flip:
            return images
        height, width = images.shape[2:]
        top, left, flipped = draws[:, :, None].unbind(1)  # (B, 1) each
        x = torch.arange(width, device=images.device)
        rows = torch.arange(height, device=images.device) + top - self.padding  # (B, H)
        columns = torch.where(flipped.bool(), width - 1 - x, x) + left - self.padding  # (B, W)
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
        pixels = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]  # (B, H, W)
        pixels = pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return images.flatten(2).gather(2, pixels).view_as(images) * inside[:, None]
