"""Where on an image a training crop lies: chosen by workers, which read only the header, and cut on the device."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

from mcl.errors import UserError

BILINEAR = "bilinear"  # the value of an enumeration or, in newer versions of torchvision, a word
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


class Placement(NamedTuple):
    """A part of an image that is resized to the training crop.

    Args:
        box: the part.
        bounds: pixels that the resampling filter may use: all, or those of a crop made before.
        flip: whether to flip left to right.
    """

    box: Box
    bounds: Box
    flip: bool = False


Place = Callable[[Image.Image], Placement]  # from an image whose pixels are not decoded; may draw as transforms do


def center_square(image: Image.Image) -> Placement:
    """Place the crop on the largest centered square, as `mcl.data.decoding.decode` does."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return Placement((left, top, left + side, top + side), (0.0, 0.0, float(width), float(height)))


class DeviceCrop(NamedTuple):
    """The crop and the size that the device gives to an encoded image."""

    place: Place
    size: int  # side in pixels
    channels: int


class RandomPlacement:
    """Places the crop as ``RandomResizedCrop`` and ``RandomHorizontalFlip`` of ``torchvision.transforms.v2`` would.

    It draws the same numbers in the same order from torch's global generator.

    Args:
        transforms: the first, or both, in this order.
        size: side of the crop, in pixels.

    Raises:
        UserError: other transforms, or a crop of another size or interpolation.
    """

    def __init__(self, transforms: Sequence[Callable[..., object]], size: int):
        from torchvision.transforms import v2  # slow to import

        kinds = [type(each) for each in transforms]
        if kinds not in ([v2.RandomResizedCrop], [v2.RandomResizedCrop, v2.RandomHorizontalFlip]):
            raise UserError(
                f"dataset.decode=gpu: dataset.transform is {', '.join(kind.__name__ for kind in kinds) or 'empty'}; on"
                " the GPU it is RandomResizedCrop, and RandomHorizontalFlip after it. Use dataset.decode=cpu for"
                " others."
            )
        crop, *flips = list[Any](transforms)
        self.crop, self.flip = crop, flips[0] if flips else None
        if list(crop.size) != [size, size] or getattr(crop.interpolation, "value", crop.interpolation) != BILINEAR:
            raise UserError(
                f"dataset.decode=gpu: RandomResizedCrop must be bilinear, of size {size} (dataset.image_size). Use"
                " dataset.decode=cpu for others."
            )

    def __call__(self, image: Image.Image) -> Placement:
        part = self.crop.make_params([image])
        left, top = float(part["left"]), float(part["top"])
        box = (left, top, left + part["width"], top + part["height"])
        return Placement(box, box, self.flip is not None and bool(torch.rand(1) < self.flip.p))
