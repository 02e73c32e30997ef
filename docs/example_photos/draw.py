"""Draw the example photos: four kinds of shapes on paper of any color. ``python draw.py`` makes them again."""

import math
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIDE, FINE = 64, 4  # pixels; drawn FINE times larger, then reduced
COUNTS = {"train": 60, "test": 20}  # images of each shape
CORNERS = {"square": 4, "star": 10, "triangle": 3}  # all others are circles
SHAPES = ("circle", "square", "star", "triangle")


def draw(shape: str, rng: random.Random) -> Image.Image:
    """Return one photo: a shape of random place, size, turn and color, a shadow, and scribbles that say nothing."""
    size = SIDE * FINE
    paper, ink = _color(rng, 150, 256), _color(rng, 0, 110)
    image = Image.new("RGB", (size, size), paper)
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randrange(1, 4)):
        ends = [rng.randrange(size) for _ in range(4)]
        pen.line(ends, fill=_color(rng, 80, 200), width=rng.randrange(2, 3 * FINE))
    radius = size * rng.uniform(0.16, 0.32)
    x, y = (rng.uniform(radius, size - radius) for _ in range(2))
    outline = _outline(shape, radius, rng.uniform(0, 2 * math.pi))
    for shift, fill in ((radius / 8, tuple(3 * value // 4 for value in paper)), (0, ink)):
        pen.polygon([(x + shift + dx, y + shift + dy) for dx, dy in outline], fill=fill)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2 * FINE)))
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _outline(shape: str, radius: float, turn: float) -> list[tuple[float, float]]:
    corners = CORNERS.get(shape, 60)
    radii = [radius * (0.45 if shape == "star" and i % 2 else 1.0) for i in range(corners)]
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    return [(length * math.cos(angle), length * math.sin(angle)) for length, angle in zip(radii, angles, strict=True)]


def _color(rng: random.Random, least: int, end: int) -> tuple[int, ...]:
    return tuple(rng.randrange(least, end) for _ in range(3))


def main() -> None:
    """Write ``train/SHAPE/N.jpg`` and ``test/SHAPE/N.jpg`` beside this file."""
    for split, count in COUNTS.items():
        for shape in SHAPES:
            folder = Path(__file__).parent / split / shape
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                photo = draw(shape, random.Random(f"{split} {shape} {i}"))
                photo.save(folder / f"{i:02d}.jpg", quality=80)


if __name__ == "__main__":
    main()
