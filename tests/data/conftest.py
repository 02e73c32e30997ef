"""Small image folders."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcl.data import contents, folder

MakeTree = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """``make_tree(parts, classes, count)``: random images of 8 x 8 below ``tmp_path/pets``; the part "" is the root."""

    def make(parts: Sequence[str] = ("train", "test"), classes: Sequence[str] = ("cat", "dog"), count: int = 5) -> Path:
        rng = np.random.default_rng(0)
        root = tmp_path / "pets"
        for part in parts:
            for name in classes:
                (root / part / name).mkdir(parents=True)
                for number in range(count):
                    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(root / part / name / f"{number}.png")
        return root

    return make


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """How many images each decoding had."""
    counts: list[int] = []
    decode_all = folder.decode_all

    def counted(paths, *args, **options):
        counts.append(len(paths))
        return decode_all(paths, *args, **options)

    monkeypatch.setattr(folder, "decode_all", counted)
    return counts


@pytest.fixture
def old_files(monkeypatch) -> None:
    """No file counts as changed a moment ago."""
    monkeypatch.setattr(contents, "_JUST_CHANGED", -(10**18))


@pytest.fixture
def twins(tmp_path) -> tuple[Path, Path]:
    """Two folders of one name with files of equal names, sizes and times, in which one image differs."""
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
