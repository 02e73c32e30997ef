"""Small runs, and how to compare a stopped and resumed run with one that was never stopped."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mcl.runs import checkpoints

SMALL = [  # 2 epochs of 5 steps, with meta rounds at steps 0, 4 and 8
    *("dataset=synthetic", "dataset.image_size=8", "dataset.train_per_class=8", "dataset.test_per_class=3"),
    *("dataset.classes=4", "dataset.channels=1", "sampler=shuffle"),
    *("trainer.batch_size=7", "trainer.epochs=2", "trainer.log_every=3"),
]
ROUNDS = ["loss.meta.interval=4", "loss.meta.steps=1", "loss.dim=16"]
META = [*ROUNDS, "pair.first.depths=[1,1]", "pair.second.depths=[1,1]"]  # more stages would take most of the time
UNSTEADY = ("time", "train/images_per_second")


class Outcome:
    """The files of a run folder after the run."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.state = checkpoints.load(self.folder / "checkpoints" / "last.pt")

    @property
    def metrics(self) -> list[dict[str, Any]]:
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in UNSTEADY} for line in lines]

    @property
    def summary(self) -> dict[str, Any]:
        summary = json.loads((self.folder / "summary.json").read_text())
        unsteady = {"code", "checkpoint", "metrics", "sha256", "peak_memory"}
        unsteady |= {"seconds", "training_seconds", "images_per_second"}
        return {key: value for key, value in summary.items() if key not in unsteady}

    def equals(self, other: "Outcome") -> bool:
        """Assert that everything that training computes has equal bits."""
        for part in ("learner", "optimizers", "results", "best", "step", "random_states"):
            assert_same(self.state[part], other.state[part], part)
        assert self.metrics == other.metrics
        assert self.summary == other.summary
        return True


def assert_same(one: Any, other: Any, where: str) -> None:
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}.{i}")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


@pytest.fixture
def small(command: Callable[..., Any]) -> Callable[..., Any]:
    """``small("folder", "option=value")`` trains a run of 10 steps in that folder."""

    def run(folder: str, *overrides: str) -> Any:
        meta = [] if any(override.startswith("loss=") for override in overrides) else META
        return command(*SMALL, *meta, f"hydra.run.dir={folder}", *overrides)

    return run


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Train a run that nothing stops; all folders of tests share one, which they do not change."""
    return _undisturbed(tmp_path_factory.getbasetemp() / "undisturbed" / "run")


@functools.cache
def _undisturbed(folder: Path) -> Outcome:
    import sys

    import train

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *SMALL, *META, f"hydra.run.dir={folder}"])
        train.train()
    return Outcome(folder)


@pytest.fixture
def during_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """``during_step(7, act)`` calls ``act`` once, during step 7 (counted from 0)."""
    from mcl.training.trainer import Trainer

    taken = Trainer.train_on_batch

    def arrange(step: int, act: Callable[[], None]) -> None:
        waiting = [act]

        def step_with_act(trainer: Trainer, *arguments: Any) -> Any:
            if trainer.progress.step == step and waiting:
                waiting.pop()()
            return taken(trainer, *arguments)

        monkeypatch.setattr(Trainer, "train_on_batch", step_with_act)

    return arrange
