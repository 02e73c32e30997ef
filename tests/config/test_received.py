"""The door for received configurations: plain data alone gets through."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mcl.config.instantiate import build
from mcl.errors import UserError
from mcl.runs.received import received, received_run
from mcl.runs.stored_config import plain


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"a": "${b}"}, "a="),
        ({"a": [{"b": "\\${c}"}]}, r"a\.0\.b="),
        ({"a": {"x${b}": 1}}, "a has a key"),
        ({"${a}": 1}, "the top has a key"),
        ({"a": ("x", ["${"])}, r"a\.1\.0="),
    ],
)
def test_interpolations_are_refused_everywhere(config: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError, match=rf"^sent\.yaml: {place}.* holds an interpolation"):
        received(config, "sent.yaml")


@pytest.mark.parametrize("value", [b"x", Path("x"), torch.zeros(1), {1, 2}, object])
def test_data_other_than_plain_values_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"sent\.yaml: a\.0 is of type"):
        received({"a": [value]}, "sent.yaml")
    with pytest.raises(UserError, match=r"sent\.yaml: "):
        received([value], "sent.yaml")


def test_message_is_one_line_without_control_characters() -> None:
    with pytest.raises(UserError) as refused:
        received({"a": "\x1b[2J\n" + "${b}" * 100}, "sent.yaml")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 200


def test_plain_data_comes_out_as_it_was_and_is_a_copy() -> None:
    config: dict[str, Any] = {"pair": {"first": {"a": [1, 2.5, None, True, "$x {y}"]}}, "dataset": {1: {}}}
    received = received_run(config, "config.yaml")
    assert received == config
    assert received["pair"]["first"]["a"] is not config["pair"]["first"]["a"]


@pytest.mark.parametrize("text", ["\\${lr}", "\\\\\\${lr}"])
def test_nothing_is_left_to_resolve_when_a_node_is_built(text: str) -> None:
    node = OmegaConf.create(
        {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1, "device": text, "lr": 1}
    )
    with pytest.raises(UserError, match=r"net\.device=.*still holds"):
        build(node, path="net")
    with pytest.raises(UserError, match=r"still holds"):
        plain(node)


def test_what_an_interpolation_makes_is_checked_before_it_is_built(tmp_path: Path) -> None:
    interpolation = "${oc.create:{_target_:logging.FileHandler,filename:" + str(tmp_path / "canary") + "}}"
    for node in ({"device": interpolation}, OmegaConf.create({"device": interpolation})):
        node.update({"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1})
        with pytest.raises(UserError, match=r"net\.device"):
            build(node, path="net")
    assert not list(tmp_path.iterdir())
