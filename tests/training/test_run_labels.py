import os
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from mcl.runs.identity import config_hash
from mcl.training.run_labels import run_name, run_tags

Composed = Callable[..., DictConfig]


def test_a_run_alone_is_named_by_everything_that_can_change_its_result(composed: Composed) -> None:
    overrides = ["loss=mcl", "trainer.epochs=3", "trainer.log_every=5", "seed=2"]
    config = composed(*overrides)
    assert run_name(config, {"dataset": "digits", "loss": "mcl"}, overrides).endswith("mcl seed=2 trainer.epochs=3")


def test_a_run_among_others_is_named_by_what_varies(composed: Composed) -> None:
    overrides = ["dataset=digits", "trainer.epochs=3", "+loss.weights.vcl=0.5", "loss=mcl", "seed=2"]
    varied = ["loss", "loss.weights.vcl", "optimizer.lr", "seed"]
    assert run_name(composed(), {}, overrides, varied) == "vcl=0.5 loss=mcl seed=2"
    assert run_name(composed(), {}, ["seed=2"], ["other"]).endswith(" seed=0")  # nothing of what varies was typed


def test_the_tag_of_a_folder_of_images_is_its_name(composed: Composed, tmp_path: Path) -> None:
    config = composed("dataset=folder", f"dataset.root={tmp_path}")
    choices = {"dataset": "folder", "loss": "lmcl", "network@pair.first": "resnet8", "network@pair.second": "resnet8"}
    assert list(run_tags(config, choices)) == [tmp_path.name, "lmcl", "resnet8"]
    assert next(run_tags(composed(), {**choices, "dataset": "digits"})) == "digits"


@pytest.mark.parametrize("options", [["tracking.wandb.gradients=1", "tracking.wandb.pictures=3"], ["tracking=none"]])
def test_the_hash_of_a_run_does_not_depend_on_its_tracking(composed: Composed, options: list[str]) -> None:
    assert config_hash(composed(*options)) == config_hash(composed())


def test_names_and_groups_do_not_change_the_environment(composed: Composed) -> None:
    before = dict(os.environ)
    run_name(composed(), {}, ["seed=1"], ["seed"])
    assert dict(os.environ) == before
