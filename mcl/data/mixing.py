"""Mixtures of two images of a batch: mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019).

The batch is in random order, and each image is mixed with its neighbor, so pairs are random. They never leave the
part of one process, and a run draws the same mixtures with any number of processes. An image keeps the larger share of
its own mixture: its label remains the one by which contrast chooses positives.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mcl.data.random_boxes import inside
from mcl.errors import UserError
from mcl.types import Mixed

PAIR = 2


@dataclass(frozen=True)
class Mixing:
    """Mix each image of a full batch with another one.

    Args:
        mixup: alpha of mixup; the share of an image has the distribution Beta(alpha, alpha). 0 for none.
        cutmix: alpha of CutMix, likewise. With both, half of the images are mixed by each.

    Raises:
        UserError: A number is negative.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise UserError(f"trainer.{name}={getattr(self, name)}: must not be negative; 0 for none.")

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def check(self, batch_size: int, processes: int) -> None:
        """Raise UserError unless pairs of images fill the part of every process."""
        if self and batch_size % (PAIR * processes):
            raise UserError(
                f"trainer.batch_size={batch_size}: mixup and CutMix mix pairs of images, so it must be a multiple of"
                f" {PAIR * processes}{f' with {processes} processes' if processes > 1 else ''}."
            )

    def shuffle(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images (B,) of a batch in random order, so that neighbors are random pairs."""
        return batch[torch.randperm(len(batch), generator=generator)]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, 4) float32: the share of the image itself, whether by CutMix, and the center of its patch."""
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))  # torch has no Beta for it
        by_patch = torch.from_numpy(rng.random(count)) < (0.5 if self.mixup else 1.0) * (self.cutmix > 0)
        blended, cut = (torch.from_numpy(rng.beta(a or 1.0, a or 1.0, count)) for a in (self.mixup, self.cutmix))
        share = torch.where(by_patch, cut, blended)
        places = torch.from_numpy(rng.random((count, 2)))
        return torch.cat([torch.maximum(share, 1 - share)[:, None], by_patch[:, None], places], dim=1).float()

    def apply(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Mixed]:
        """Mix a batch.

        Args:
            images: (B, C, H, W) float, or (views, B, C, H, W); all views of an image are mixed alike.
            labels: (B,).
            draws: (B, 4), from `draw`.

        Returns:
            The mixtures, and the labels and shares of their second images. The share of a patch is that of its pixels.
        """
        height, width = images.shape[-2:]
        share, by_patch, x, y = draws.unbind(1)
        by_patch = by_patch.bool()
        half = 0.5 * (1 - share).sqrt()  # of the patch, in sides of the image
        corners = [
            ((center * side).floor() + sign * (half * side).floor()).clamp(0, side)
            for sign in (-1, 1)
            for center, side in ((x, width), (y, height))
        ]
        patch = inside(torch.stack(corners, dim=1).long(), height, width)  # (B, 1, H, W)
        own = torch.where(by_patch[:, None, None, None], (~patch).to(images), share[:, None, None, None].to(images))
        # The mean over pixels is the share: exactly so for mixup.
        share = torch.where(by_patch, 1 - patch.float().mean((1, 2, 3)), share)
        other = torch.arange(len(labels), device=labels.device) ^ 1
        mixed = images * own + images.index_select(-4, other) * (1 - own)
        return mixed, Mixed(labels[other], share)


NO_MIXING = Mixing()
