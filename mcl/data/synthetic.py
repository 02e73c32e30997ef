"""Generated images of any size and number, for tests, benchmarks and first trials."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Images, InMemoryDataset
from mcl.data.known_fingerprints import of_synthetic
from mcl.data.seeding import generator
from mcl.errors import UserError

_GRID = 4  # a class is a smooth pattern of 4 x 4 random values, which survives small crops and any image size


class Synthetic(InMemoryDataset):
    """Classes are smooth random patterns, and images are patterns with noise. The same seed gives the same images.

    Args:
        classes: number of classes.
        channels: 1 or 3.
        image_size: side in pixels.
        train_per_class, test_per_class: images of each class.
        noise: standard deviation of the noise. White is 1, and the standard deviation of a pattern is about 0.2.
        augmentation, limit, validation: as for every :class:`~mcl.data.dataset.Dataset`.
        mean, std: None for 0.5 and 0.25.
        seed: seed of the images, and of the choices of ``limit`` and ``validation``.

    Raises:
        UserError: As in `Dataset`, or a number is below its minimum.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
        train_per_class: int = 100,
        test_per_class: int = 20,
        noise: float = 0.2,
        augmentation: Augmentation | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        limit: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ):
        for option, value, minimum in (
            ("classes", classes, 2),
            ("channels", channels, 1),
            ("train_per_class", train_per_class, 1),
            ("test_per_class", test_per_class, 1),
            ("noise", noise, 0),
        ):
            if value < minimum:
                raise UserError(f"dataset.{option}={value}: must be at least {minimum}.")
        super().__init__(
            name="synthetic",
            classes=[f"class_{label}" for label in range(classes)],
            channels=channels,
            image_size=image_size,
            counts=[train_per_class] * classes,
            mean=mean or (0.5,),
            std=std or (0.25,),
            augmentation=augmentation,
            limit=limit,
            validation=validation,
            seed=seed,
        )
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        self.noise = noise

    def fingerprint(self) -> str:
        spec = self.spec
        parts = (self.train_per_class, self.test_per_class)
        return of_synthetic(spec.num_classes, spec.channels, spec.image_size, *parts, self.noise, self.seed)

    def read(self) -> tuple[Images, Images]:
        return self._part("train", self.train_per_class), self._part("test", self.test_per_class)

    def _part(self, name: str, per_class: int) -> Images:
        classes = range(self.spec.num_classes)
        images = torch.stack([self._images_of(label, name, per_class) for label in classes])  # (C, n, channels, H, W)
        return Images(images.flatten(0, 1), torch.tensor(classes).repeat_interleave(per_class))

    def _images_of(self, label: int, split: str, count: int) -> Tensor:
        channels, size = self.spec.channels, self.spec.image_size
        coarse = torch.rand(1, channels, _GRID, _GRID, generator=generator("pattern", self.seed, label))
        pattern = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
        noise = torch.randn(count, channels, size, size, generator=generator(split, self.seed, label))
        return ((pattern + self.noise * noise) * 255).round().clamp(0, 255).to(torch.uint8)
