"""The handwritten digits bundled with scikit-learn: 1,797 real gray images of 8 x 8 pixels, nothing to download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Images, InMemoryDataset, held_out_size, split
from mcl.data.known_fingerprints import DIGITS_COUNTS, DIGITS_TEST_FRACTION, of_digits

_SIDE = 8
_MEAN, _STD = (0.3059,), (0.3762,)


class Digits(InMemoryDataset):
    """Digits of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998).

    Args:
        image_size: side in pixels; images are resampled bilinearly unless it is 8.
        augmentation, limit, validation, seed: as for every :class:`~mcl.data.dataset.Dataset`.
        mean, std: None for the dataset's own.

    Raises:
        UserError: As in `Dataset`.
    """

    def __init__(
        self,
        image_size: int = _SIDE,
        augmentation: Augmentation | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        limit: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ):
        super().__init__(
            name="digits",
            classes=[str(digit) for digit in range(10)],
            channels=1,
            image_size=image_size,
            counts=[count - held_out_size(count, DIGITS_TEST_FRACTION) for count in DIGITS_COUNTS],
            mean=mean or _MEAN,
            std=std or _STD,
            augmentation=augmentation,
            limit=limit,
            validation=validation,
            seed=seed,
        )

    def fingerprint(self) -> str:
        return of_digits(self.spec.image_size)

    def read(self) -> tuple[Images, Images]:
        pixels, labels = _load_digits()
        gray = torch.from_numpy(pixels).float().view(-1, 1, _SIDE, _SIDE) * (255 / 16)
        size = self.spec.image_size
        if size != _SIDE:
            gray = F.interpolate(gray, (size, size), mode="bilinear", align_corners=False, antialias=size < _SIDE)
        digits = Images(gray.round().to(torch.uint8), torch.from_numpy(labels).long())
        train, test = split(digits.labels, DIGITS_TEST_FRACTION, stream="digits", seed=0)
        return digits.take(train), digits.take(test)


def _load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return pixels (1797, 64) from 0 to 16 and labels (1797,), equal to those of ``sklearn.datasets.load_digits``."""
    package = find_spec("sklearn")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz" if package and package.origin else None
    if file is None or not file.is_file():
        from sklearn.datasets import load_digits  # slow to import

        return load_digits(return_X_y=True)
    table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)
