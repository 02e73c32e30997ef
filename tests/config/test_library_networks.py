"""``network@pair.first=timm/NAME`` as a choice: composed, hashed, multiplied, misspelt."""

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig

import mcl
from mcl.config.build_network import network_of
from mcl.config.compose import compose_train
from mcl.errors import UserError
from mcl.runs.identity import config_hash
from mcl.runs.stored_config import plain

Command = Callable[..., Any]
TINY = ["dataset=synthetic", "dataset.image_size=32", "dataset.train_per_class=8", "dataset.test_per_class=2"]
TINY += ["dataset.classes=4", "trainer.batch_size=8", "trainer.epochs=1", "trainer.max_steps=2", "tracking=none"]


def composed(*overrides: str) -> DictConfig:
    return compose_train(["dataset=digits", "trainer.device=cpu", *overrides])


def test_choice_is_a_whole_node() -> None:
    node = composed("network@pair.first=timm/convnext_atto").pair.first
    assert dict(node) == {
        "_target_": "mcl.networks.library.LibraryBackbone",
        "name": "timm/convnext_atto",
        "library": "timm",
        "model": "convnext_atto",
        "stages": None,
        "branches": "copy",
        "weights": None,
        "options": {},
    }
    assert network_of(plain(composed("network@pair.first=timm/convnext_atto"))["pair"]["first"]) == "timm/convnext_atto"


def test_hash_depends_on_the_choice_alone() -> None:
    one, two = (config_hash(composed("network@pair.first=timm/resnet18")) for _ in range(2))
    assert one == two == "0370d84b37"
    assert config_hash(composed("network@pair.first=torchvision/resnet18")) != one
    assert config_hash(composed("network@pair.first=timm/resnet18", "pair.first.branches=light")) != one


def test_options_of_the_library_are_typed_without_a_plus() -> None:
    config = composed("network@pair.first=timm/test_vit", "pair.first.options.img_size=32")
    assert config.pair.first.options == {"img_size": 32}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network@pair.first=timm/resnet81", "network timm/resnet81: .* Did you mean 'resnet18'"),
        ("network@pair.first=convnext_atto", "Did you mean network@pair.first=timm/convnext_atto?"),
        ("network@pair.first=nosuch", "Known: .*timm/NAME, torchvision/NAME"),
    ],
)
def test_misspelt_names_are_answered(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        composed(override)


def test_build_network_knows_them() -> None:
    assert mcl.build_network("timm/test_resnet", 3).name == "timm/test_resnet"
    with pytest.raises(UserError, match="Did you mean 'test_resnet'"):
        mcl.build_network("timm/test_resnet3", 3)


def test_multirun_over_networks(command: Command) -> None:
    done = command(
        *("-m", *TINY, "loss=mcl", "optimizer.lr=0.01"),
        "network@pair.first=timm/test_convnext,torchvision/shufflenet_v2_x0_5",
    )
    assert done.status == 0, done.err
    assert "timm_test_convnext-resnet8" in done.out
    assert "torchvision_shufflenet_v2_x0_5-resnet8" in done.out
