"""Random crops, flips and further changes of a whole batch at once, on the device that holds the images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Optional, get_args

import torch
from torch import Tensor

from mcl.data import random_boxes
from mcl.data.resizing import resize_parts
from mcl.errors import UserError, check_choice

if TYPE_CHECKING:
    from mcl.data.random_operations import RandomOperations

PaddingMode = Literal["constant", "reflect"]

_CROP_RATIO = (3 / 4, 4 / 3)  # widths of resized crops, in heights
_ERASED_AREA, _ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)
_PLAIN = 3  # columns of the draws for the padded crop and the flip


@dataclass(frozen=True)
class Augmentation:
    """Crop at a random place, flip half of the images left to right, apply random operations, erase a random part.

    Drawing is separate from applying. The draws come from a CPU generator, so they are the same on every device, and
    those of a whole epoch move to the device at once.

    Args:
        padding: pixels added on each side before the crop to the original size; 0 for no crop.
        padding_mode: what these show, black (``constant``) or the mirrored image without its edge (``reflect``), as in
            torchvision's RandomCrop.
        flip: whether to flip.
        crop_scale: least share of the image that a crop keeps, which is then resized to the original size, as
            torchvision's RandomResizedCrop does; None: the padded crop instead.
        policy: random operations such as rotations and changes of brightness, see
            `mcl.data.random_operations.RandomOperations`; None for none.
        operations, strength: of the policy ``rand``.
        erasing: probability of replacing a rectangle by the mean color (torchvision's RandomErasing).

    Raises:
        UserError: An argument is out of its range; those of the policy are checked only if there is one.
    """

    padding: int = 0
    flip: bool = False
    crop_scale: float | None = None
    policy: Literal["trivial", "rand"] | None = None
    operations: int = 2
    strength: int = 9
    erasing: float = 0.0
    padding_mode: PaddingMode = "constant"

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise UserError(f"dataset.augmentation.padding={self.padding}: must not be negative.")
        check_choice("dataset.augmentation.padding_mode", self.padding_mode, get_args(PaddingMode))
        if self.crop_scale is not None and not 0 < self.crop_scale <= 1:
            raise UserError(
                f"dataset.augmentation.crop_scale={self.crop_scale}: must be a share of the image, above 0 and at most"
                " 1, or null for the padded crop."
            )
        if not 0 <= self.erasing <= 1:
            raise UserError(f"dataset.augmentation.erasing={self.erasing}: must be a probability, from 0 to 1.")
        if (policy := self._policy) is not None:
            policy.check()

    def check_images(self, image_size: int, channels: int) -> None:
        """Raise UserError if images of this side, in pixels, are too small to be mirrored, or have no gray levels."""
        if self.policy is not None and channels not in (1, 3):
            raise UserError(
                f"dataset.augmentation.policy={self.policy}: its operations are for images of 1 or 3 channels, but"
                f" these have {channels}. Use dataset.augmentation.policy=null."
            )
        if self.padding_mode == "reflect" and self.padding >= image_size:
            raise UserError(
                f"dataset.augmentation.padding={self.padding}: with padding_mode=reflect, it must be less than the"
                f" {image_size} pixels of an image's side."
            )

    @property
    def is_random(self) -> bool:
        """Whether two views of an image differ."""
        plain = Augmentation(operations=self.operations, strength=self.strength, padding_mode=self.padding_mode)
        return self != plain

    @property
    def _policy(self) -> Optional["RandomOperations"]:
        if self.policy is None:
            return None
        from mcl.data.random_operations import RandomOperations  # slow to import

        return RandomOperations(self.policy, self.operations, self.strength)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, 3) int64: top and left edge of the crop in the padded image, and whether to flip.

        With further options, they are float32, and columns follow: 4 of the resized crop, those of the policy, 5 of the
        erased part.
        """
        edges = torch.randint(2 * self.padding + 1, (count, 2), generator=generator)
        flips = torch.randint(2, (count, 1), generator=generator) * int(self.flip)
        parts = [edges, flips]
        if self.crop_scale is not None:
            parts.append(random_boxes.draw_boxes(count, (self.crop_scale, 1.0), _CROP_RATIO, generator).float())
        if (policy := self._policy) is not None:
            parts.append(policy.draw(count, generator))
        if self.erasing:
            chosen = torch.rand(count, 1, generator=generator) < self.erasing
            parts += [chosen, random_boxes.draw_boxes(count, _ERASED_AREA, _ERASED_RATIO, generator).float()]
        return torch.cat(parts, dim=1)

    def apply(self, images: Tensor, draws: Tensor, host_draws: Tensor | None = None) -> Tensor:
        """Augment a batch, except for erasing.

        Args:
            images: (B, C, H, W) uint8.
            draws: (B, columns), from :meth:`draw`, on the device of the images.
            host_draws: the same on the CPU, which saves a policy waiting for the device.

        Returns:
            (B, C, H, W) uint8, black where a crop or an operation leaves the image.
        """
        column = _PLAIN
        if self.crop_scale is None:
            images = self._padded_crop(images, draws[:, :_PLAIN].long())
        else:
            height, width = images.shape[2:]
            boxes = draws[:, column : column + random_boxes.COLUMNS]
            part = random_boxes.edges(boxes, height, width, least=1).float()
            images = resize_parts(images, part, part, draws[:, 2].bool(), height, width)
            column += random_boxes.COLUMNS
        if (policy := self._policy) is not None:
            host_draws = draws.cpu() if host_draws is None else host_draws
            images = policy.apply(images, host_draws[:, column : column + policy.columns])
        return images

    def erase(self, images: Tensor, draws: Tensor) -> Tensor:
        """Set a random part of some images to 0, which is the mean color of normalized images.

        Args:
            images: (B, C, H, W) float.
            draws: as for :meth:`apply`.
        """
        if not self.erasing:
            return images
        height, width = images.shape[2:]
        chosen, boxes = draws[:, -1 - random_boxes.COLUMNS], draws[:, -random_boxes.COLUMNS :]
        erased = random_boxes.inside(random_boxes.edges(boxes, height, width, least=0), height, width)
        kept = ~(erased & chosen.bool()[:, None, None, None])
        return images * kept  # a mask would lose the memory format

    def _padded_crop(self, images: Tensor, draws: Tensor) -> Tensor:
        """Crop from padded images (B, C, H, W) and flip; draws are (B, 3) int64."""
        if self.padding == 0 and not self.flip:
            return images
        height, width = images.shape[2:]
        top, left, flipped = draws[:, :, None].unbind(1)  # (B, 1) each
        x = torch.arange(width, device=images.device)
        rows = torch.arange(height, device=images.device) + top - self.padding  # (B, H)
        columns = torch.where(flipped.bool(), width - 1 - x, x) + left - self.padding  # (B, W)
        if self.padding_mode == "reflect":
            rows, columns = _reflect(rows, height), _reflect(columns, width)
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
        pixels = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]  # (B, H, W)
        pixels = pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return images.flatten(2).gather(2, pixels).view_as(images) * inside[:, None]


def _reflect(index: Tensor, size: int) -> Tensor:
    """Mirror indices outside of 0 to size - 1 into this range, for less than ``size`` pixels of padding."""
    return size - 1 - (size - 1 - index.abs()).abs()
