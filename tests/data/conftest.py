"""Small image folders."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcl.data import contents, listed_files

MakeTree = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """``make_tree(splits, classes, count)``: random images of 8 x 8 in ``tmp_path/pets``; the split "" is the root."""

    def make(
        splits: Sequence[str] = ("train", "test"), classes: Sequence[str] = ("cat", "dog"), count: int = 5
    ) -> Path:
        rng = np.random.default_rng(0)
        root = tmp_path / "pets"
        for split in splits:
            for name in classes:
                (root / split / name).mkdir(parents=True)
                for number in range(count):
                    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(root / split / name / f"{number}.png")
        return root

    return make


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """Record the number of images of each decoding."""
    counts: list[int] = []
    decode_all = listed_files.decode_all

    def counted(paths, *args, **options):
        counts.append(len(paths))
        return decode_all(paths, *args, **options)

    monkeypatch.setattr(listed_files, "decode_all", counted)
    return counts


@pytest.fixture
def old_files(monkeypatch) -> None:
    """Make all files count as old, not as recently changed."""
    monkeypatch.setattr(contents, "_JUST_CHANGED", -(10**18))


@pytest.fixture
def twins(tmp_path) -> tuple[Path, Path]:
    """Make two folders of the same name with files of equal names, sizes and times; one image differs."""
    roots = []
    for place, brightness in (("one", 0), ("other", 200)):
        roots.append(tmp_path / place / "pets")
        for name in ("cat", "dog"):
            (roots[-1] / name).mkdir(parents=True)
            for number in range(3):
                file = roots[-1] / name / f"{number}.bmp"
                Image.new("RGB", (8, 8), (brightness if number == 2 else 50 * number,) * 3).save(file)
                os.utime(file, ns=(10**18, 10**18))
    return roots[0], roots[1]
