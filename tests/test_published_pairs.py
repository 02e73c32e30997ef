"""Every published CIFAR pair runs its recipe: composed, built, stepped with meta rounds, evaluated, resumed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mcl.training import checkpoints

PAIRS = [
    *("resnet32", "resnet56", "resnet110", "wrn_16_2", "wrn_40_2", "wrn_28_4"),
    *("shufflenetv2_05x", "shufflenetv2_1x", "hcgnet_a1", "hcgnet_a2"),
    *("resnet32-resnet110", "resnet56-resnet110", "wrn_16_2-wrn_40_2", "wrn_40_2-wrn_28_4", "resnet56-wrn_40_2"),
    *("resnet110-wrn_28_4", "shufflenetv2_1x-resnet110", "shufflenetv2_1x-wrn_40_2"),
]
FABRICATED = ["dataset=synthetic", "dataset.train_per_class=2", "dataset.test_per_class=1"]
LIKE_CIFAR100 = ["dataset.classes=100", "dataset.image_size=32"]
SMALLER = ["dataset.classes=10", "dataset.image_size=8"]
DRY = ["debug=dry", "trainer.max_steps=2", "trainer.checkpoint_every=1", "trainer.batch_size=4", "trainer.threads=1"]


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_published_pair_is_trained_evaluated_and_resumed(pair: str, command: Callable) -> None:
    train_evaluate_resume(command, pair, *LIKE_CIFAR100, "loss.meta.interval=1")


@pytest.mark.parametrize("pair", ["resnet32", "wrn_16_2-wrn_40_2"])
def test_pair_is_trained_evaluated_and_resumed_on_small_images(pair: str, command: Callable) -> None:
    train_evaluate_resume(command, pair, *SMALLER)


def train_evaluate_resume(command: Callable, pair: str, *more: str) -> None:
    typed = ["experiment=cifar100_lmcl", f"pair={pair}", *FABRICATED, *DRY, *more, "hydra.run.dir=run"]
    first = command(*typed)
    assert first.status == 0, first.err
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["steps"] == 2
    assert [network["name"] for network in summary["networks"]] == (pair.split("-") * 2)[:2]
    assert all(0 <= network["top1_max_over_heads"] <= 100 for network in summary["networks"])

    last, before = Path("run/checkpoints/last.pt"), Path("run/checkpoints/step-1.pt")
    undisturbed = checkpoints.load(last)["learner"]
    shutil.move(before, last)  # as if it had been stopped there
    Path("run/summary.json").unlink()
    again = command(*typed)
    assert again.status == 0, again.err
    assert [json.loads(line)["step"] for line in Path("run/metrics.jsonl").read_text().splitlines()] == [1, 2, 2]
    resumed = checkpoints.load(last)["learner"]
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)
