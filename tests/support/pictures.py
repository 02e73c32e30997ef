"""Drawn pictures with a coarse structure of their own, as photos have."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a smooth picture; those of different seeds are not alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def photo_folder(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    """Draw ``counts["train/cat"]`` different pictures into each folder of a root, as 0.png, 1.png, ..."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture(first).save(root / folder / f"{number}.png")
            first += 1
    return root
