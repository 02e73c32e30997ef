"""Runs that cannot fit are refused with its numbers before anything is allocated."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mcl.training import estimates


def test_a_batch_that_cannot_fit_is_refused(small: Callable[..., Any]) -> None:
    done = small("run", "dataset.image_size=1000000")
    assert done.status == 1
    assert "training images of 1 x 1000000 x 1000000 take at least" in done.err
    assert "GB of memory are free" in done.err
    assert not Path("run").exists()


def test_the_first_feature_maps_count(small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    images, maps = 7 * 8 * 8 * 5, 2 * 7 * 16 * 8 * 8 * 4  # two networks of 16 channels
    monkeypatch.setattr(estimates, "available_memory", lambda: images + maps - 1)
    done = small("run", "loss=independent")
    assert (done.status, "a batch of 7 images of 1 x 8 x 8" in done.err) == (1, True)
    monkeypatch.setattr(estimates, "available_memory", lambda: images + maps)
    assert small("run", "loss=independent", "trainer.max_steps=1").status == 0


def test_checkpoints_that_cannot_fit_are_refused(small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert small("run", "trainer.max_steps=1").status == 0
    size = Path("run/checkpoints/last.pt").stat().st_size
    free = [size]
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    done = small("full")
    assert done.status == 1
    assert "2 to keep and one to write, take at least" in done.err
    assert "trainer.max_checkpoints=1" in done.err
    assert not Path("full").exists(), "nothing has begun"
    free[0] = 3 * size
    assert small("full", "trainer.max_steps=1").status == 0, "the estimate is a lower bound"


def test_contrast_without_positives_is_noted(small: Callable[..., Any]) -> None:
    note = "other images of its class in a batch on average"
    assert note in " ".join(small("run", "loss=mcl", "trainer.batch_size=2", "trainer.max_steps=1").out.split())
    assert note not in small("other", "loss=mcl", "trainer.batch_size=7", "trainer.max_steps=1").out


def test_more_negatives_than_images_are_noted(small: Callable[..., Any]) -> None:
    typed = ["loss/contrast=memory", "loss.contrast.neg_k=1000", "trainer.max_steps=1"]
    printed = " ".join(small("run", *typed).out.split())
    assert "loss.contrast.neg_k=1,000 rows are drawn, with repetitions, of 24 images of other classes" in printed


def test_rows_of_memory_banks_that_cannot_fit_are_refused(small: Callable[..., Any]) -> None:
    refused = small("run", "loss/contrast=memory", "loss.contrast.neg_k=1000000000", "trainer.max_steps=1")
    assert refused.status == 1
    assert "the 1,000,000,002 rows of memory banks for each of 7 images take at least" in refused.err
    assert "Use a smaller loss.contrast.neg_k or trainer.batch_size." in refused.err
