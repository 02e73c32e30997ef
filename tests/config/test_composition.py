"""Every file of conf/ composes, and everything it names can be built."""

from collections.abc import Callable
from pathlib import Path

import hydra.utils
import pytest
import torch
from hydra.errors import MissingConfigException
from omegaconf import DictConfig

from mcl import extras
from mcl.config.checks import check_config
from mcl.config.compose import compose
from mcl.config.conf_folder import conf_folder
from mcl.config.instantiate import build
from mcl.config.loss_arguments import loss_arguments
from mcl.config.targets import resolve
from mcl.runs.identity import CUSTOM
from mcl.runs.pair import networks_of
from mcl.types import NetworkShape

LOSSES_OF = {"mcl": "mcl", "cifar": "lmcl", "imagenet": "lmcl_imagenet"}  # weights -> a loss that takes them
ON_DISK = (
    "dataset=folder",
    "dataset=csv",
    "dataset=hf",
    "dataset=imagenet",
    "experiment=imagenet_baseline",
    "experiment=imagenet_lmcl",
    "recipe=modern_imagenet",
)
NEEDED = {name: ["dataset.root=somewhere"] for name in ON_DISK}


def choices() -> list[str]:
    """Return ``group=choice`` for every YAML file."""
    names = []
    for file in sorted(conf_folder().rglob("*.yaml")):
        group, _, name = file.relative_to(conf_folder()).with_suffix("").as_posix().rpartition("/")
        while group.count("/") and group.split("/")[0] in ("network", "pair"):  # names such as imagenet/resnet18
            group, _, front = group.rpartition("/")
            name = f"{front}/{name}"
        if group and group != "hydra" and name != CUSTOM:  # custom: what the user names, see test_own_classes.py
            names.append(f"{group}={name}")
    return names


@pytest.mark.parametrize("choice", [choice for choice in choices() if not choice.startswith("hydra/")])
def test_every_choice_composes_and_fits_its_constructors(choice: str, composed: Callable[..., DictConfig]) -> None:
    overrides = [choice, *NEEDED.get(choice, [])]
    if choice.startswith("network="):
        overrides = [choice.replace("network=", "network@pair.first=")]
    if choice.startswith("loss/weights="):
        overrides.append(f"loss={LOSSES_OF[choice.partition('=')[2]]}")
    if choice.endswith("single"):
        overrides.append("loss=independent")
    config = composed(*overrides)
    check_config(config)
    for group in ("dataset", "sampler", "schedule", "trainer"):
        if group != "dataset" or config.dataset.get("root") is None:
            build(config[group], path=group)
    networks = networks_of(config.pair)
    teachers = ["second"] if choice == "loss=kd" else []
    shapes = [NetworkShape([8] * 3, [8] * 3, 10, frozen=key in teachers, shared=2) for key in networks]
    loss = resolve(config.loss._target_, path="loss")
    assert build(config.loss, path="loss", **loss_arguments(loss, [[8] * 3] * len(networks), lambda: shapes)).weights
    with torch.device("meta"):  # without initial weights
        for key, node in networks.items():
            assert build(node, path=f"pair.{key}", num_classes=10, in_channels=3).num_classes == 10


@pytest.mark.parametrize("choice", [choice for choice in choices() if choice.startswith("hydra/")])
def test_every_launcher_and_sweeper_composes_and_can_be_built(choice: str, composed: Callable[..., DictConfig]) -> None:
    part_of_a_sweeper = choice.startswith("hydra/sweeper/")
    try:
        config = composed(*(["hydra/sweeper=optuna"] if part_of_a_sweeper else []), choice, hydra=True)
    except MissingConfigException as missing:
        pytest.skip(extras.missing_plugin(str(missing.missing_cfg_file)) or pytest.fail(str(missing)))
    hydra.utils.instantiate(config.hydra[choice.split("/")[1].partition("=")[0]])


def test_one_network_of_a_pair_can_be_changed_and_a_third_added(composed: Callable[..., DictConfig]) -> None:
    config = composed("pair=resnet8", "network@pair.second=resnet20", "+network@pair.third=resnet14")
    assert [network.name for network in networks_of(config.pair).values()] == ["resnet8", "resnet20", "resnet14"]


def test_home_folder_is_expanded_in_the_folder_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    config = compose("train", ['runs="~/runs"'])
    assert config.hydra.sweep.dir == "/home/ada/runs"
    assert Path(config.hydra.run.dir) == Path("/home/ada/runs", config.hydra.sweep.subdir)
    config.runs = "~/other"  # in Python
    assert config.hydra.run.dir.startswith("/home/ada/other/digits/")


def test_groups_compose_into_their_packages(composed: Callable[..., DictConfig]) -> None:
    config = composed("loss=lmcl", "loss/matching=one", "loss/weights=imagenet")
    assert config.loss.meta is None
    assert config.loss.weights.vcl == 0.01


@pytest.mark.parametrize("choice", [choice for choice in choices() if choice.startswith("pair=")])
def test_pair_files_contain_only_network_choices_and_shared_stages(choice: str) -> None:
    text = (conf_folder() / "pair" / f"{choice.partition('=')[2]}.yaml").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines[0] == "defaults:"
    assert all(line.strip().startswith(("- /network@", "shared_stages: ")) for line in lines[1:])


def test_no_file_of_conf_lies_outside_a_group() -> None:
    assert sorted(Path(file).name for file in conf_folder().glob("*.yaml")) == ["sweep.yaml", "train.yaml"]


def test_any_option_of_the_trainer_may_be_an_interpolation() -> None:
    config = compose(
        "train", ["trainer.epochs=${seed}", "seed=3", "trainer.batch_size=${dataset.limit}", "dataset.limit=8"]
    )
    assert (config.trainer.epochs, config.trainer.batch_size) == (3, 8)
