"""Signatures read from source say what imported ones say, or less."""

import re
from pathlib import Path
from typing import Any

import pytest

from mcl.config.instantiate import PACKAGES, _fits, _inside, resolve
from mcl.config.signatures import signature_of, written_signature

CONF = Path(__file__).parents[2] / "conf"
TARGETS = sorted(
    {
        target
        for file in CONF.rglob("*.yaml")
        for target in re.findall(r"_target_: ([\w.]+)", file.read_text())
        if _inside(target, PACKAGES)
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


def test_those_that_matter_are_read() -> None:
    assert set(TARGETS) >= READ
    assert {target for target in TARGETS if written_signature(target) is not None} >= READ


@pytest.mark.parametrize("target", TARGETS)
def test_what_fits_when_imported_fits_as_read(target: str) -> None:
    read, imported = written_signature(target), signature_of(resolve(target))
    if read is None:
        return
    assert (read.title, read.names, read.required, read.takes_any) == (
        imported.title,
        imported.names,
        imported.required,
        imported.takes_any,
    )
    for name, hint in read.hints.items():
        accepted = [value for value in VALUES if _fits(value, imported.hints.get(name, Any))]
        assert [value for value in accepted if not _fits(value, hint)] == [], name


def test_the_types_of_most_options_are_read() -> None:
    read = [hint for target in TARGETS for hint in getattr(written_signature(target), "hints", {}).values()]
    assert sum(hint is not Any for hint in read) > 0.8 * len(read)


@pytest.mark.parametrize("name", ["mcl.losses.lmcl.Nothing", "mcl.nothing.LMCL", "nothing.at.all", "mcl.data.dataset"])
def test_what_is_not_there_is_left_to_the_import(name: str) -> None:
    assert written_signature(name) is None
