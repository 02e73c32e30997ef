"""The identity of a run: settings that change its hash."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from mcl.runs.identity import ADDED, config_hash, differences, identity, pair_name, run_folder

SAME = [
    "trainer.device=cpu",
    "trainer.log_every=7",
    "tracking=wandb",
    "resume=never",
    "objective=validation/top1_best",
    "runs=elsewhere",
    "hydra.run.dir=x",
    "loss.meta.memory=recompute",
    "trainer.capture=off",
    "optimizer.lr=0.10",
]
OTHER = [
    "seed=1",
    "optimizer.lr=0.2",
    "loss.tau=0.2",
    "loss=mcl",
    "pair=resnet14",
    "network@pair.second=resnet14",
    "+network@pair.third=resnet8",
    "dataset.limit=10",
    "sampler=shuffle",
    "trainer.epochs=31",
    "trainer.max_steps=3",
    "trainer.precision=bfloat16",
    "trainer.precision=float16",
    "trainer.precision=tf32",
    "trainer.compile=true",
    "trainer.compile=max-autotune",
]


@pytest.mark.parametrize("override", SAME)
def test_harmless_settings_are_not_part_of_the_identity(override: str, composed: Callable[..., DictConfig]) -> None:
    assert config_hash(composed("trainer.device=cpu", override)) == config_hash(composed("trainer.device=cpu"))


@pytest.mark.parametrize("override", OTHER)
def test_settings_that_change_the_result_change_the_hash(override: str, composed: Callable[..., DictConfig]) -> None:
    assert config_hash(composed(override)) != config_hash(composed())


def test_corrected_experiments_have_a_new_hash(composed: Callable[..., DictConfig]) -> None:
    imagenet = ["dataset=imagenet", "dataset.root=D", "pair=imagenet/resnet18", "trainer.device=cpu"]
    assert config_hash(composed(*imagenet)) != "7a05a67b24"  # transforms shared by all draws of an image in an epoch
    assert config_hash(composed(*imagenet, "sampler=shuffle")) == "df64faa66b"  # an image comes once: nothing changed


def test_all_hashes_differ(composed: Callable[..., DictConfig]) -> None:
    assert len({config_hash(composed(override)) for override in OTHER}) == len(OTHER)


def test_new_settings_keep_the_hash_of_earlier_runs(composed: Callable[..., DictConfig]) -> None:
    now = composed("dataset=folder", "dataset.root=D")
    earlier = now.copy()
    OmegaConf.set_struct(earlier, False)
    for key in ADDED:
        if "*" in key:  # a configuration has it only if it was typed: see test_pair_options.py
            continue
        if key in ("dataset.decode", "optimizer.head_lr_factor", "optimizer.layer_decay"):  # only if asked for
            continue
        group, _, name = key.rpartition(".")
        del OmegaConf.select(earlier, group)[name]
    assert config_hash(earlier) == config_hash(now)


@pytest.mark.parametrize("dataset", ["folder", "imagenet"])
def test_only_decoding_on_the_gpu_is_part_of_the_identity(composed: Callable[..., DictConfig], dataset: str) -> None:
    typed = [f"dataset={dataset}", "dataset.root=D", "trainer.device=cpu"]
    now, on_gpu = composed(*typed), composed(*typed, "dataset.decode=gpu")
    earlier = now.copy()
    OmegaConf.set_struct(earlier, False)
    del earlier.dataset["decode"]
    assert config_hash(earlier) == config_hash(now) != config_hash(on_gpu)
    assert "dataset.decode" not in identity(now)
    assert identity(on_gpu)["dataset.decode"] == "gpu"


def test_whole_floats_are_whole_numbers(composed: Callable[..., DictConfig]) -> None:
    assert config_hash(composed("optimizer.lr=1")) == config_hash(composed("optimizer.lr=1.0"))


def test_differences_name_old_and_new(composed: Callable[..., DictConfig]) -> None:
    changed = differences(identity(composed()), identity(composed("optimizer.lr=0.2", "seed=3")))
    assert changed == ["optimizer.lr: 0.1 -> 0.2", "seed: 0 -> 3"]


def test_folder_name_has_dataset_pair_and_loss(composed: Callable[..., DictConfig]) -> None:
    config = composed("network@pair.second=resnet20", "loss=mcl", hydra=True)
    choices = config.hydra.runtime.choices
    assert run_folder(config, choices).startswith("digits/resnet8-resnet20/mcl/")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["resnet8"], "single-resnet8"),
        (["resnet8", "resnet8"], "resnet8"),
        (["resnet8", "wrn_16_2"], "resnet8-wrn_16_2"),
        (["resnet8"] * 3, "resnet8-x3"),
        (["imagenet/resnet18", "imagenet/resnet50"], "imagenet/resnet18-resnet50"),
    ],
)
def test_pair_name(names: list[str], expected: str) -> None:
    assert pair_name(names) == expected


@pytest.mark.parametrize("name", ["../../x", "a/../../x", "/abs"])
def test_names_cannot_escape_the_runs_folder(name: str, command: Callable[..., Any]) -> None:
    done = command("dataset=folder", "dataset.root=images", f"dataset.name={name}")
    assert done.status == 1
    assert "would not lie in runs: give dataset.name" in done.err
    assert not list(Path().iterdir())
    for launcher in ("basic", "gpus") if name.startswith("..") else ():
        done = command(
            "-m", f"hydra/launcher={launcher}", "dataset=folder", "dataset.root=images", f"dataset.name={name}"
        )
        assert "would not lie in runs: give dataset.name" in done.err
    assert [path.name for path in Path().iterdir()] in ([], ["runs"])
