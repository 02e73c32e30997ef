"""Instantiation of configuration nodes, and refused nodes."""

import sys
from pathlib import Path
from typing import Literal

import pytest
import torch

from mcl.config.checks import check
from mcl.config.instantiate import build
from mcl.config.targets import resolve
from mcl.errors import UserError

SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}


def parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.zeros(2))]


def test_builds_with_supplied_arguments() -> None:
    mine = parameters()
    optimizer = build(SGD, params=mine)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["params"][0] is mine[0]


def test_nested_targets_are_built_and_partials_wait() -> None:
    node = {
        "_target_": "mcl.losses.lmcl.LMCL",
        "matching": {"_target_": "mcl.losses.matching.LayerMatching", "_partial_": True, "dim": 8},
        "meta": {"_target_": "mcl.losses.base.MetaSchedule", "interval": 7},
    }
    loss = build(node, widths=[[4, 4], [4, 4]])
    assert loss.meta.interval == 7
    assert loss.matching.projections[0][0].out_features == 8


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.os.system",
        "torch.hub.load",
        "torch.load",
        "torch.nn.modules.module.warnings.warn",
        "mcl.files.write_atomically",
        "mcl.runs.checkpoints.os.system",
        "mcl.losses.base.torch.hub.load",
        "subprocess.run",
    ],
)
def test_targets_outside_the_allowed_packages_are_refused(target: str) -> None:
    with pytest.raises(UserError, match="_target_=" + target.replace(".", r"\.")):
        resolve(target)


def test_nested_targets_are_looked_at_too() -> None:
    with pytest.raises(UserError, match=r"optimizer\.foreach\._target_=os\.getcwd"):
        check({**SGD, "nesterov": False, "foreach": {"_target_": "os.getcwd"}}, path="optimizer", supplied=["params"])


def test_module_that_the_user_allows_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "class Thing:\n    def __init__(self, size: int):\n        self.size = size\n"
    (tmp_path / "mine_alone.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "mine_alone.Thing", "size": 3}
    with pytest.raises(UserError, match=r"allow_modules=\[mine_alone\]"):
        build(node)
    assert build(node, allow=["mine_alone"]).size == 3
    sys.modules.pop("mine_alone")


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"optimizer\.momentun: .*Did you mean 'momentum'"):
        check({**SGD, "momentun": 0.9}, path="optimizer", supplied=["params"])


def test_missing_option_is_named() -> None:
    with pytest.raises(UserError, match=r"loss\.widths is not set"):
        check({"_target_": "mcl.losses.independent.Independent"}, path="loss")


def test_constructor_error_names_the_arguments() -> None:
    with pytest.raises(UserError, match=r"optimizer cannot be built: .*learning rate.*lr=-1"):
        build({**SGD, "lr": -1}, path="optimizer", params=parameters())


class Typed:
    def __init__(
        self,
        whole: int = 0,
        number: float = 0.0,
        text: str = "",
        flag: bool = False,
        maybe: int | None = None,
        choice: Literal["keep", "recompute"] = "keep",
        several: list[float] | None = None,
        table: dict[str, float] | None = None,
        pair: tuple[int, int] = (0, 0),
    ):
        self.given = (whole, number, text, flag, maybe, choice, several, table, pair)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("whole", 1),
        ("number", 1),
        ("number", 1.5),
        ("text", "a"),
        ("flag", True),
        ("maybe", None),
        ("maybe", 3),
        ("choice", "recompute"),
        ("several", [1, 2.5]),
        ("several", None),
        ("table", {"a": 1}),
        ("pair", [1, 2]),
    ],
)
def test_right_types_pass(option: str, value: object) -> None:
    check({"_target_": f"{__name__}.Typed", option: value}, allow=[__name__])


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("whole", "a", "a whole number"),
        ("whole", 1.5, "a whole number"),
        ("whole", True, "a whole number"),
        ("whole", None, "a whole number"),
        ("number", "abc", "a number"),
        ("number", False, "a number"),
        ("text", 3, "a text"),
        ("flag", 1, "true or false"),
        ("maybe", "x", "a whole number or null"),
        ("choice", "kep", "one of keep, recompute. Did you mean 'keep'"),
        ("several", ["a"], "a list"),
        ("several", 3, "a list"),
        ("table", 3, "a mapping"),
        ("pair", [1], "a list"),
    ],
)
def test_wrong_types_are_refused_with_readable_messages(option: str, value: object, expected: str) -> None:
    with pytest.raises(UserError, match=f"node.{option}=.*expected {expected}"):
        check({"_target_": f"{__name__}.Typed", option: value}, path="node", allow=[__name__])


def test_wrong_entry_of_a_mapping_is_named() -> None:
    with pytest.raises(UserError, match=r"node\.table\.b=c: expected a number\.$"):
        check({"_target_": f"{__name__}.Typed", "table": {"a": 1, "b": "c"}}, path="node", allow=[__name__])
