"""How features lie in a tensor: maps with channels first or last, or tokens; all of them as maps (B, C, H, W)."""

from collections.abc import Sequence
from math import isqrt
from typing import NamedTuple

from torch import Tensor, nn


class Layout(NamedTuple):
    """The layout of one tensor of features.

    Args:
        kind: ``channels first`` (B, C, H, W), ``channels last`` (B, H, W, C), ``tokens`` (B, N, C), ``vector`` (B, C).
        channels: C.
        side: H = W; of tokens, the side of their grid.
        prefix: tokens before those of the grid, such as a class token.
    """

    kind: str
    channels: int
    side: int
    prefix: int = 0

    @property
    def size(self) -> str:
        """Return ``"64 x 8 x 8"``: channels, height, width."""
        return f"{self.channels} x {self.side} x {self.side}"

    def as_map(self, features: Tensor) -> Tensor:
        """Return features of this layout, from images of any size, as maps (B, C, H, W), without prefix tokens."""
        if self.kind == "channels last":
            return features.permute(0, 3, 1, 2)
        if self.kind == "tokens":
            grid = features[:, self.prefix :].transpose(1, 2)
            side = isqrt(grid.shape[2])
            return grid.unflatten(2, (side, side) if side * side == grid.shape[2] else (-1, 1))
        return features[:, :, None, None] if self.kind == "vector" else features


def layout_of(shape: Sequence[int], prefix: int | None = None) -> Layout:
    """Return the layout of features of square images.

    Args:
        shape: of the tensor.
        prefix: tokens before those of the grid; None to leave as many as exceed a square.
    """
    if len(shape) == 4 and shape[1] == shape[2] != shape[3]:
        return Layout("channels last", shape[3], shape[1])
    if len(shape) == 4:
        return Layout("channels first", shape[1], shape[2])
    if len(shape) == 3:
        tokens = shape[1]
        if prefix is None or prefix >= tokens or isqrt(tokens - prefix) ** 2 != tokens - prefix:
            prefix = tokens - isqrt(tokens) ** 2
        return Layout("tokens", shape[2], isqrt(tokens - prefix), prefix)
    return Layout("vector", shape[-1], 1)


class AsMap(nn.Module):
    """Turn features of one layout into maps."""

    def __init__(self, layout: Layout):
        super().__init__()
        self.layout = layout

    def forward(self, features: Tensor) -> Tensor:
        """Map features to (B, C, H, W)."""
        return self.layout.as_map(features)
