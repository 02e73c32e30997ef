"""Signatures read from source agree with imported ones."""

import re
from inspect import Signature
from pathlib import Path
from typing import Any

import pytest

from mcl.config.signatures import read_signature, signature_of
from mcl.config.targets import PACKAGES, inside, resolve
from mcl.config.type_hints import fits

CONF = Path(__file__).parents[2] / "conf"
TARGETS = sorted(
    {
        target
        for file in CONF.rglob("*.yaml")
        for target in re.findall(r"_target_: ([\w.]+)", file.read_text())
        if inside(target, PACKAGES)
    }
)
VALUES = ["x", "keep", 1, 0.5, True, None, [1], ["x"], [[1]], {"a": 1}, {"a": "x"}, {}]
READ = {
    "torch.optim.SGD",
    "mcl.losses.lmcl.LMCL",
    "mcl.losses.base.MetaSchedule",
    "mcl.networks.resnet.ResNet",
    "mcl.training.options.TrainerOptions",
    "mcl.data.augmentation.Augmentation",
}


def test_signatures_of_targets_are_read_from_source() -> None:
    assert set(TARGETS) >= READ
    assert {target for target in TARGETS if read_signature(target) is not None} >= READ


def in_brief(signature: Signature) -> list[tuple[str, object, bool]]:
    return [(each.name, each.kind, each.default is not each.empty) for each in signature.parameters.values()]


@pytest.mark.parametrize("target", TARGETS)
def test_imported_and_read_signatures_agree(target: str) -> None:
    read, imported = read_signature(target), signature_of(resolve(target))
    if read is None:
        return
    assert in_brief(read) == in_brief(imported)
    for name, parameter in read.parameters.items():
        accepted = [value for value in VALUES if fits(value, imported.parameters[name].annotation)]
        assert [value for value in accepted if not fits(value, parameter.annotation)] == [], name


def test_types_of_most_options_are_read() -> None:
    signatures = [signature for target in TARGETS if (signature := read_signature(target)) is not None]
    hints = [parameter.annotation for signature in signatures for parameter in signature.parameters.values()]
    assert sum(hint is not Any for hint in hints) > 0.8 * len(hints)


@pytest.mark.parametrize("name", ["mcl.losses.lmcl.Nothing", "mcl.nothing.LMCL", "nothing.at.all", "mcl.data.dataset"])
def test_unreadable_signatures_are_left_to_the_import(name: str) -> None:
    assert read_signature(name) is None
