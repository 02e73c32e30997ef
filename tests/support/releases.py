"""A small study with a validation part, of which one row was trained, and how anybody checks a card."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support.small_runs import SMALL
from torch import Tensor

SEEDS = (0, 1)
HELD = [*SMALL, "dataset.validation=0.25", "trainer.device=cpu", "trainer.precision=float32", "tracking=none"]


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the study ``experiments/small`` into an empty folder and train its row ``loss=independent``."""
    import train

    home = tmp_path_factory.mktemp("home")
    place = home / "experiments" / "small"
    place.mkdir(parents=True)
    hold = [*HELD, f"runs={home}/runs"]
    page = {"title": "Small", "hold": hold, "vary": {"loss": ["independent", "mcl"]}, "seeds": list(SEEDS)}
    (place / "study.yaml").write_text(yaml.safe_dump({**page, "baseline": {"loss": "independent"}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("MCL_CACHE", str(home / "cache"))
        for seed in SEEDS:
            patch.setattr(sys, "argv", ["train.py", *hold, "loss=independent", f"seed={seed}"])
            train.train()
    return place


def header_of(card: str) -> dict[str, Any]:
    """Return the header of a card."""
    header = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(header, dict)
    return header


def logits_of(card: str) -> dict[str, Tensor]:
    """Return the logits in a card, by the key of the network."""
    (block,) = re.findall(r"^```json\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    return {key: torch.tensor(rows) for key, rows in json.loads(block)["logits"].items()}


def drawn(channels: int, size: int) -> Tensor:
    """Draw the 16 images of a card, pixel by pixel: 4 x 4 patches of random brightness, cropped to (size, size)."""
    random = np.random.RandomState(0).randint(0, 256, (16, channels, 4, 4), np.uint8)
    side = (size + 3) // 4
    images = torch.empty(16, channels, size, size, dtype=torch.uint8)
    for row in range(size):
        for column in range(size):
            images[:, :, row, column] = torch.from_numpy(random[:, :, row // side, column // side])
    return images
