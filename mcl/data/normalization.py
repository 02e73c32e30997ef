"""Normalization of uint8 images by the mean and standard deviation of each channel."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalization:
    """Maps uint8 images to ``(x / 255 - mean) / std``.

    Args:
        mean, std: per channel, in [0, 1] units.
        device: device of the images.
        memory_format: memory format of the result.
        dtype: dtype of the result; the arithmetic is in float32 or better.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        device: torch.device | str,
        memory_format: torch.memory_format = torch.contiguous_format,
        dtype: torch.dtype = torch.float32,
    ):
        means, deviations = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (mean, std))
        self.arithmetic = torch.promote_types(dtype, torch.float32)
        self.scale = (1 / (255 * deviations)).to(self.arithmetic).to(device, non_blocking=True)  # (C, 1, 1)
        self.shift = (-means / deviations).to(self.arithmetic).to(device, non_blocking=True)
        self.memory_format = memory_format
        self.dtype = dtype

    def __call__(self, images: Tensor) -> Tensor:
        """Normalize (B, C, H, W) uint8."""
        pixels = images.to(self.arithmetic, memory_format=self.memory_format)
        return torch.addcmul(self.shift, pixels, self.scale).to(self.dtype)
