"""Small image folders."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
