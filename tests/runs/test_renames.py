"""Renamed options: hashes stay, old names work, and a run folder of the first release is read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import mcl
from mcl.__main__ import main
from mcl.config.compose import Composed, composing
from mcl.config.targets import resolve
from mcl.runs.identity import config_hash
from mcl.runs.renames import CHOICES, OPTIONS, TARGETS, current_names, current_override, old_names

FIRST_RELEASE = Path(__file__).parent.parent / "golden" / "run-0.1.0"  # written by version 0.1.0, options as then
HASHES = [  # of commands of version 0.1.0; the two of ImageNet with repeated images were corrected since
    ("trainer.device=cpu", "73f50a34ac"),
    ("pair=resnet20 dataset=cifar100 trainer.epochs=300 trainer.device=cpu", "bb1a6a5cc3"),
    ("network@pair.second=resnet20 loss=mcl trainer.device=cpu", "13a3e5656d"),
    ("pair=single network@pair.first=resnet20 loss=independent trainer.device=cpu", "ba36627192"),
    ("loss=independent seed=1 trainer.device=cpu", "205f8a354c"),
    ("+network@pair.third=resnet8 trainer.device=cpu", "875db05f3d"),
    ("dataset=folder dataset.root=/my/images trainer.device=cpu", "8d74482767"),
    ("pair=wrn_16_2-wrn_40_2 trainer.device=cpu", "05905fa38b"),
    ("loss=mcl loss.tau=0.2 trainer.device=cpu", "3165b5f6f2"),
    ("loss/weights=imagenet loss.weights.vcl=0.05 trainer.device=cpu", "f683360e79"),
    ("loss/matching=one trainer.device=cpu", "efa66b658b"),
    ("loss/matching=one_to_one trainer.device=cpu", "d7d951fad4"),
    ("loss/contrast=memory trainer.device=cpu", "b62541485e"),
    ("sampler=shuffle trainer.device=cpu", "99ebe5e700"),
    ("optimizer.lr=0.05 schedule=multistep trainer.device=cpu", "f14b592a4a"),
    ("optimizer=adamw schedule=constant trainer.device=cpu", "f9e1b08b72"),
    ("trainer.epochs=300 trainer.precision=bfloat16 trainer.device=cpu", "d51ad78234"),
    ("tracking=none trainer.device=cpu", "73f50a34ac"),
    ("debug=dry trainer.device=cpu", "e857a7c746"),
    ("debug=overfit trainer.device=cpu", "ba7fbd4efc"),
    ("recipe=fast trainer.device=cpu", "13c18ac998"),
    ("trainer.keep=3 trainer.device=cpu", "73f50a34ac"),
    (
        "loss=lmcl_imagenet dataset=imagenet dataset.root=/d pair=imagenet/shufflenetv2_1x trainer.device=cpu",
        "bbca4c7932",
    ),
    (
        "network@pair.first=imagenet/resnet50 network@pair.second=imagenet/mobilenetv3_small "
        "dataset=imagenet dataset.root=/d trainer.device=cpu",
        "411e1d7bfd",
    ),
    ("dataset=synthetic loss=deep_supervision trainer.device=cpu", "18c82dfe9c"),
    ("dataset=fashion_mnist pair=hcgnet_a1 trainer.device=cpu", "326907d3a5"),
    ("dataset.validation=0.1 dataset.limit=20 trainer.device=cpu", "c30491405b"),
    ("pair=shufflenetv2_1x-resnet110 dataset=cifar10 trainer.device=cpu", "203a979853"),
    ("trainer.compile=true trainer.device=cpu", "85660ca682"),
    ("loss.contrast.official_slip=true loss/contrast=memory trainer.device=cpu", "8d2166e5d4"),
    ("experiment=cifar100_baseline trainer.device=cpu", "5320988f9d"),
    ("experiment=cifar100_baseline_pair trainer.device=cpu", "53a1ad472a"),
    ("experiment=cifar100_deep_supervision trainer.device=cpu", "737258654b"),
    ("experiment=cifar100_lmcl trainer.device=cpu", "9f2b77e3bd"),
    ("experiment=cifar100_mcl trainer.device=cpu", "e34da90db1"),
    ("experiment=cifar100_mcl_kd trainer.device=cpu", "45dc74a77b"),
    ("experiment=imagenet_baseline dataset.root=/d trainer.device=cpu", "d7148ca21a"),
    ("experiment=imagenet_lmcl dataset.root=/d trainer.device=cpu", "10c5791080"),
    (
        "experiment=cifar100_baseline_pair pair=resnet32-resnet110 loss=independent seed=0 trainer.device=cpu",
        "12df245e20",
    ),
    ("experiment=cifar100_baseline_pair pair=resnet32 loss=independent seed=0 trainer.device=cpu", "231cb6f0dd"),
    (
        "experiment=cifar100_baseline_pair pair=single network@pair.first=resnet32 "
        "loss=deep_supervision seed=0 trainer.device=cpu",
        "bcb06f28fc",
    ),
    (
        "dataset.root=data/imagenet pair=imagenet/resnet18-shufflenetv2_1x experiment=imagenet_baseline "
        "seed=0 trainer.device=cpu dataset.root=/d",
        "84c777fe54",
    ),
    (
        "dataset.root=data/imagenet pair=imagenet/resnet34 experiment=imagenet_baseline "
        "seed=0 trainer.device=cpu dataset.root=/d",
        "7ab0f0803c",
    ),
    ("experiment=cifar100_baseline_pair pair=resnet32 loss=deep_supervision seed=0 trainer.device=cpu", "3585515c80"),
    (
        "experiment=cifar100_baseline_pair pair=resnet32 loss=lmcl loss/matching=one seed=0 trainer.device=cpu",
        "33e899a64a",
    ),
    (
        "dataset=digits dataset.limit=10 trainer.batch_size=32 trainer.epochs=100 trainer.evaluate_every=5 "
        "trainer.precision=float32 trainer.channels_last=true loss=independent seed=0 trainer.device=cpu",
        "2e6b044923",
    ),
    (
        "dataset=folder dataset.root=data/tiny-imagenet-100 dataset.name=tiny-imagenet-100 "
        "dataset.image_size=32 optimizer.lr=0.1 trainer.precision=bfloat16 "
        "trainer.channels_last=true pair=resnet8 trainer.epochs=20 loss=independent seed=0 "
        "trainer.device=cpu dataset.root=/d",
        "c749604ec4",
    ),
]


@pytest.fixture(scope="module")
def composed_runs() -> dict[str, Composed]:
    with composing() as compose:
        return {command: compose(command.split(" ")) for command, _ in HASHES}


@pytest.mark.parametrize(("command", "expected"), HASHES)
def test_every_run_of_the_first_release_keeps_its_hash(
    command: str, expected: str, composed_runs: dict[str, Composed]
) -> None:
    composed = composed_runs[command]
    assert config_hash(composed.config) == expected
    assert composed.folder.name == expected


def test_renamed_targets_exist() -> None:
    for target in TARGETS.values():
        assert resolve(target)


def test_old_and_current_names_map_both_ways() -> None:
    then = {
        "trainer": {"keep": 3, "_target_": "mcl.training.trainer.Trainer"},
        "loss": {"contrast": {"official_slip": True}},
    }
    now = current_names(then)
    assert now["trainer"] == {"max_checkpoints": 3, "_target_": "mcl.training.options.TrainerOptions"}
    assert now["loss"] == {"contrast": {"reproduce_official_bug": True}}
    assert old_names({"trainer.max_checkpoints": 3, "seed": 0}) == {"trainer.keep": 3, "seed": 0}


@pytest.mark.parametrize(("old", "new"), [*CHOICES.items(), *((f"{a}=1", f"{b}=1") for a, b in OPTIONS.items())])
def test_old_names_in_overrides_become_current_ones(old: str, new: str) -> None:
    assert current_override(old) == new
    assert current_override(f"++{old}") == f"++{new}"
    assert current_override(new) == new


def test_old_name_on_the_command_line_works_and_prints_one_line(command: Callable) -> None:
    done = command("debug=dry", "loss=independent", "trainer.keep=3", "recipe=fast", "trainer.precision=float32")
    assert done.status == 0, done.err
    notes = [line for line in done.err.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: trainer.keep=3 is now written trainer.max_checkpoints=3",
        "note: recipe=fast is now written speed=fast",
    ]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    shutil.copytree(FIRST_RELEASE, tmp_path / "run")
    return tmp_path / "run"


RETRAIN = [
    *("dataset=synthetic", "dataset.image_size=8", "dataset.train_per_class=8", "dataset.test_per_class=3"),
    *("dataset.classes=4", "dataset.channels=1", "sampler=shuffle", "trainer.batch_size=8", "trainer.epochs=2"),
    *("trainer.log_every=3", "loss/contrast=memory", "loss.contrast.neg_k=8", "loss.dim=8", "loss.matching.dim=8"),
    *("loss.meta.interval=4", "loss.meta.steps=1", "pair.first.depths=[1,1]", "pair.second.depths=[1]"),
    *("tracking=none", "trainer.device=cpu", "trainer.keep=2"),
]


def test_stored_run_is_finished_under_its_old_command(stored: Path, command: Callable) -> None:
    done = command(*RETRAIN, f"hydra.run.dir={stored}")
    assert done.status == 0, done.err
    assert "25.00" in done.out


def test_stored_run_is_resumed_with_its_numbers(stored: Path, command: Callable) -> None:
    expected = torch.load(stored / "checkpoints" / "last.pt", weights_only=True)
    (stored / "summary.json").unlink()
    (stored / "checkpoints" / "last.pt").unlink()
    done = command(*RETRAIN, f"hydra.run.dir={stored}")
    assert done.status == 0, done.err
    resumed = torch.load(stored / "checkpoints" / "last.pt", weights_only=True)
    assert resumed["step"] == expected["step"] == 8
    for name, tensor in expected["learner"].items():
        # It was trained on another processor, whose kernels may round otherwise.
        torch.testing.assert_close(resumed["learner"][name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_stored_run_is_evaluated_exported_loaded_and_reported(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(stored)]) == 0
    assert main(["export", str(stored), "--format", "safetensors"]) == 0
    assert mcl.load(stored)(torch.zeros(1, 1, 8, 8)).shape == (1, 4)
    assert main(["report", str(stored), "--out", str(tmp_path / "report")]) == 0
    assert "25.00" in (tmp_path / "report" / "RESULTS.md").read_text()


def test_stored_run_keeps_its_hash() -> None:
    summary = json.loads((FIRST_RELEASE / "summary.json").read_text())
    assert summary["config_hash"] == "f96113d51d"
