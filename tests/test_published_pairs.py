"""Every published CIFAR pair trains with its settings: composed, built, meta rounds, evaluated, resumed."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.small_runs import UNSTEADY

from mcl.data.cifar import Cifar100
from mcl.runs import checkpoints

PAIRS = [
    *("resnet32", "resnet56", "resnet110", "wrn_16_2", "wrn_40_2", "wrn_28_4"),
    *("shufflenetv2_05x", "shufflenetv2_1x", "hcgnet_a1", "hcgnet_a2"),
    *("resnet32-resnet110", "resnet56-resnet110", "wrn_16_2-wrn_40_2", "wrn_40_2-wrn_28_4", "resnet56-wrn_40_2"),
    *("resnet110-wrn_28_4", "shufflenetv2_1x-resnet110", "shufflenetv2_1x-wrn_40_2"),
]
SMALLER = ["dataset=synthetic", "dataset.train_per_class=2", "dataset.test_per_class=1", "dataset.image_size=8"]
SMALLER += ["trainer.max_steps=2", "trainer.checkpoint_every=1", "trainer.batch_size=4"]
EPOCH = ["trainer.max_steps=null", "trainer.epochs=1", "trainer.checkpoint_every=4", "trainer.batch_size=40"]
EPOCH += ["loss.meta.interval=4", "loss.meta.memory=recompute"]
EPOCH += ["optimizer.lr=0.001"]  # 5 steps are too few for stable statistics


@pytest.fixture
def cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write files of CIFAR-100 with 2 random images per class; return the options to train on them."""
    monkeypatch.setattr(Cifar100, "train_per_class", 2)
    folder = tmp_path / "data" / Cifar100.subfolder
    folder.mkdir(parents=True)
    for name in Cifar100.train_files + Cifar100.test_files:
        pixels = np.random.default_rng(len(name)).integers(0, 256, (200, 3 * 32 * 32), dtype=np.uint8)
        batch = {b"data": pixels, Cifar100.label_key: [n % 100 for n in range(200)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return ["dataset=cifar100", f"dataset.root={tmp_path / 'data'}"]


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_published_pair_is_trained_for_an_epoch_evaluated_and_resumed(
    pair: str, command: Callable, cifar100: list[str]
) -> None:
    train_evaluate_resume(command, pair, *cifar100, *EPOCH, steps=5, stopped_at=4)


@pytest.mark.parametrize("pair", ["resnet32", pytest.param("wrn_16_2-wrn_40_2", marks=pytest.mark.slow)])
def test_pair_is_trained_evaluated_and_resumed_on_small_images(pair: str, command: Callable) -> None:
    train_evaluate_resume(command, pair, *SMALLER, steps=2, stopped_at=1)


def train_evaluate_resume(command: Callable, pair: str, *more: str, steps: int, stopped_at: int) -> None:
    arguments = [
        "experiment=cifar100_lmcl",
        f"pair={pair}",
        "debug=dry",
        "trainer.max_checkpoints=3",
        *more,
        "hydra.run.dir=run",
    ]
    first = command(*arguments)
    assert first.status == 0, first.err
    summary = json.loads(Path("run/summary.json").read_text())
    assert (summary["steps"], summary["epochs"]) == (steps, 1)
    assert [network["name"] for network in summary["networks"]] == (pair.split("-") * 2)[:2]
    assert all(0 <= network["top1_max_over_heads"] <= 100 for network in summary["networks"])
    lines = Path("run/metrics.jsonl").read_text().splitlines()

    last, before = Path("run/checkpoints/last.pt"), Path(f"run/checkpoints/step-{stopped_at}.pt")
    undisturbed = checkpoints.load(last)["learner"]
    shutil.move(before, last)  # as if the run had been stopped there
    Path("run/summary.json").unlink()
    again = command(*arguments)
    assert again.status == 0, again.err
    steady = [{k: v for k, v in json.loads(line).items() if k not in UNSTEADY} for line in lines]
    resumed_lines = Path("run/metrics.jsonl").read_text().splitlines()
    assert [{k: v for k, v in json.loads(line).items() if k not in UNSTEADY} for line in resumed_lines] == steady
    resumed = checkpoints.load(last)["learner"]
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)
