"""Random operations on images, batched: TrivialAugment (ICCV 2021) and RandAugment (NeurIPS 2020), as in torchvision.

The operations and their strengths are those of `torchvision.transforms.v2`, whose own classes draw one operation for a
whole batch. Here each image has its own operation and strength, and an operation runs once for all images that drew it.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional

from mcl.devices import tf32
from mcl.errors import UserError, check_choice

Policy = Literal["trivial", "rand"]
BINS = 31  # of strengths
COLUMNS = 3  # of the draws for one operation
_GRAY = (0.2989, 0.587, 0.114)  # shares of the colors, as in torchvision


class RandomOperations(NamedTuple):
    """Apply random operations to each image.

    Args:
        policy: ``trivial``: one operation of random strength (TrivialAugment, wide); ``rand``: several operations of
            one strength (RandAugment).
        operations: number of operations of ``rand``.
        strength: their strength, from 0 to 30.
    """

    policy: Policy
    operations: int = 2
    strength: int = 9

    def check(self) -> None:
        """Raise UserError if an argument is out of its range."""
        check_choice("dataset.augmentation.policy", self.policy, get_args(Policy))
        if self.operations < 1:
            raise UserError(f"dataset.augmentation.operations={self.operations}: must be at least 1.")
        if not 0 <= self.strength < BINS:
            raise UserError(f"dataset.augmentation.strength={self.strength}: must be from 0 to {BINS - 1}.")

    @property
    def columns(self) -> int:
        """Columns of the draws."""
        return COLUMNS * (self.operations if self.policy == "rand" else 1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, columns) float32: for each operation its number, the bin of its strength, and a sign."""
        shape = (count, self.columns // COLUMNS, 1)
        numbers = torch.randint(len(OPERATIONS), shape, generator=generator)
        bins = torch.randint(BINS, shape, generator=generator)
        if self.policy == "rand":
            bins.fill_(self.strength)
        signs = 2 * torch.randint(2, shape, generator=generator) - 1
        return torch.cat([numbers, bins, signs], dim=2).flatten(1).float()

    @tf32(allowed=False)  # the same pixels whatever the precision of the networks
    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Apply the operations in order.

        Args:
            images: (B, C, H, W) uint8, on any device.
            draws: (B, columns), from `draw`, on the CPU: they decide how many images each operation gets.

        Returns:
            (B, C, H, W) uint8.
        """
        for operation in draws.split(COLUMNS, dim=1):
            images = self._apply_one(images, operation)
        return images

    def _apply_one(self, images: Tensor, draws: Tensor) -> Tensor:
        numbers, bins, signs = draws.long().unbind(1)
        height, width = images.shape[-2:]
        parameters = _parameters(self.policy, numbers, bins, signs, height, width)
        order = torch.where(numbers <= _LAST_AFFINE, 0, numbers).argsort(stable=True)
        places = torch.stack([order, order.argsort()]).to(images.device, non_blocking=True)
        sorted_parameters = parameters[order].to(images.device, non_blocking=True)
        counts = numbers.bincount(minlength=len(OPERATIONS)).tolist()
        counts = [sum(counts[: _LAST_AFFINE + 1]), *counts[_LAST_AFFINE + 1 :]]
        functions = [affine, *list(_FUNCTIONS.values())]
        parts = zip(functions, images[places[0]].split(counts), sorted_parameters.split(counts), strict=True)
        return torch.cat([function(part, given) for function, part, given in parts if len(part)])[places[1]]


def affine(images: Tensor, parameters: Tensor) -> Tensor:
    """Move pixels, to the nearest neighbor; black where an image has none.

    Args:
        images: (B, C, H, W) uint8.
        parameters: (B, 6), rows of the matrix from a pixel of the result to one of the image, from the center.
    """
    height, width = images.shape[-2:]
    x, y = (torch.linspace((1.0 - side) / 2, (side - 1.0) / 2, side, device=images.device) for side in (width, height))
    pixels = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
    pixels = F.pad(pixels, (0, 1), value=1.0).view(1, -1, 3).expand(len(images), -1, -1)  # (B, pixels, 3)
    sides = torch.stack([x.new_full((), 0.5 * width), x.new_full((), 0.5 * height)])
    places = pixels.bmm(parameters.view(-1, 2, 3).mT / sides)
    places = places.view(-1, height, width, 2)
    moved = F.grid_sample(images.float(), places, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved.round_().to(torch.uint8)


def _brightness(images: Tensor, parameters: Tensor) -> Tensor:
    return (images * _column(parameters, 0)).clamp_(0, 255).to(torch.uint8)


def _color(images: Tensor, parameters: Tensor) -> Tensor:
    return images if images.shape[1] == 1 else _blend(images.float(), _gray(images), parameters)


def _contrast(images: Tensor, parameters: Tensor) -> Tensor:
    return _blend(images.float(), _gray(images).mean((-3, -2, -1), keepdim=True), parameters)


def _sharpness(images: Tensor, parameters: Tensor) -> Tensor:
    if min(images.shape[-2:]) <= 2:
        return images
    pixels = images.float()
    kernel = F.pad(pixels.new_full((1, 1, 1, 1), 5 / 13), (1, 1, 1, 1), value=1 / 13)
    smooth = F.conv2d(pixels.flatten(0, 1)[:, None], kernel).view(*images.shape[:2], *(n - 2 for n in images.shape[2:]))
    inner = pixels[..., 1:-1, 1:-1]
    inner += (smooth.round_() - inner) * _column(parameters, 1)
    return pixels.clamp_(0, 255).to(torch.uint8)


def _posterize(images: Tensor, parameters: Tensor) -> Tensor:
    return images & _column(parameters, 0).to(torch.uint8)


def _solarize(images: Tensor, parameters: Tensor) -> Tensor:
    return torch.where(images >= _column(parameters, 0), 255 - images, images)


def _auto_contrast(images: Tensor, parameters: Tensor) -> Tensor:
    adjusted: Tensor = functional.autocontrast(images)
    return adjusted


def _equalize(images: Tensor, parameters: Tensor) -> Tensor:
    adjusted: Tensor = functional.equalize(images)
    return adjusted


_AFFINE = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": _brightness,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
}
OPERATIONS = (*_AFFINE, *_FUNCTIONS)
_LAST_AFFINE = len(_AFFINE) - 1
_SIGNED = torch.tensor([name not in ("Posterize", "Solarize") for name in OPERATIONS])


def strengths(policy: Policy, height: int, width: int) -> Tensor:
    """Return (operations, bins), the strengths that torchvision gives each operation, without signs."""
    wide = policy == "trivial"
    largest = {
        "ShearX": 0.99 if wide else 0.3,
        "ShearY": 0.99 if wide else 0.3,
        "TranslateX": 32.0 if wide else 150.0 / 331.0 * width,  # pixels
        "TranslateY": 32.0 if wide else 150.0 / 331.0 * height,
        "Rotate": 135.0 if wide else 30.0,  # degrees
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.99 if wide else 0.9),
    }
    rows = {name: torch.linspace(0.0, most, BINS) for name, most in largest.items()}
    rows["Posterize"] = 8 - (torch.arange(BINS) / ((BINS - 1) / (6 if wide else 4))).round()  # bits
    rows["Solarize"] = torch.linspace(1.0, 0.0, BINS)
    return torch.stack([rows.get(name, torch.zeros(BINS)) for name in OPERATIONS])


def _parameters(policy: Policy, numbers: Tensor, bins: Tensor, signs: Tensor, height: int, width: int) -> Tensor:
    """Return (B, 6) float32, what the function of each operation takes: a matrix, or one or two numbers."""
    strength = strengths(policy, height, width)[numbers, bins].double()
    strength = torch.where(_SIGNED[numbers], strength * signs, strength)
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    shift, angle = strength.trunc(), strength * (math.pi / 180)
    solarize, posterize = 255 * strength, 256 - 2 ** (8 - strength)
    factor = [1 + strength, -strength, zero, zero, zero, zero]  # and one minus the factor
    rows = {
        "Identity": [one, zero, zero, zero, one, zero],
        "ShearX": [one, strength, strength * (height / 2), zero, one, zero],
        "ShearY": [one, zero, zero, strength, one, strength * (width / 2)],
        "TranslateX": [one, zero, -shift, zero, one, zero],
        "TranslateY": [one, zero, zero, zero, one, -shift],
        "Rotate": [angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero],
        "Posterize": [posterize, zero, zero, zero, zero, zero],
        "Solarize": [solarize, zero, zero, zero, zero, zero],
    }
    every = torch.stack([torch.stack(rows.get(name, factor), dim=1) for name in OPERATIONS])  # (operations, B, 6)
    return every[numbers, torch.arange(len(numbers))].float()


def _column(parameters: Tensor, i: int) -> Tensor:
    return parameters[:, i, None, None, None]


def _gray(images: Tensor) -> Tensor:
    """Return gray levels (B, 1, H, W) float, in whole numbers."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.unbind(1)
    return red.mul(_GRAY[0]).add_(green, alpha=_GRAY[1]).add_(blue, alpha=_GRAY[2]).floor_()[:, None]


def _blend(images: Tensor, others: Tensor, parameters: Tensor) -> Tensor:
    return (images * _column(parameters, 0) + others * _column(parameters, 1)).clamp_(0, 255).to(torch.uint8)
