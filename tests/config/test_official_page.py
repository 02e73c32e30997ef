"""docs/official.md and the table in README.md: their commands and options are accepted."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from mcl.config.checks import check_config
from mcl.config.conf_folder import conf_folder
from mcl.config.official_names import our_name

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "official.md").read_text()
SECTION = (ROOT / "README.md").read_text().partition("## Coming from the official code")[2].partition("\n## ")[0]
COMMAND = r"`(?:python|torchrun --nproc_per_node=8) train\.py ([^`]+)`"
COMMANDS = [line for line in re.findall(COMMAND, PAGE + SECTION) if "NAME" not in line]
OPTIONS = re.findall(r"^\| `--[^|]*\| `([^`]+=[^`]*)` \|", PAGE, re.MULTILINE)
VALUES = {
    "pair=": "pair=resnet32",
    "pair=single network@pair.first=": "pair=single network@pair.first=resnet32 loss=independent",
    "runs=": "runs=elsewhere",
    "dataset.root=": "dataset=cifar10 dataset.root=elsewhere",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_composes(command: str, composed: Callable[..., DictConfig]) -> None:
    check_config(composed(*command.split()))


@pytest.mark.parametrize("option", OPTIONS)
def test_option_exists_in_the_recipe(option: str, composed: Callable[..., DictConfig]) -> None:
    if option.endswith("="):
        option = VALUES.get(option, f"{option}1")
    banks = option.startswith(("loss.contrast", "dataset.workers"))
    recipe = ["experiment=imagenet_lmcl", "dataset.root=D"] if banks else ["experiment=cifar100_lmcl"]
    check_config(composed(*recipe, *option.split()))


def test_page_has_the_options_and_commands() -> None:
    assert len(COMMANDS) >= 10
    assert len(OPTIONS) >= 20


def test_names_on_the_page_equal_suggested_names() -> None:
    table = PAGE.partition("## Names")[2].partition("## Checkpoints")[0]
    rows = [[re.findall(r"`([\w/-]+)`", cell) for cell in line.split("|")[1:3]] for line in table.splitlines()]
    pairs = [
        pair
        for official_names, our_names in (row for row in rows if len(row) == 2)
        for pair in zip(official_names, our_names, strict=False)
    ]
    named = {official: name for official, name in pairs if official != "lmcl_"}
    assert len(named) == 23
    assert {official: our_name(official) for official in named} == named
    cifar = {name for official, name in named.items() if official.endswith("_cifar")}
    assert all((conf_folder() / "pair" / f"{name}.yaml").is_file() for name in cifar)
