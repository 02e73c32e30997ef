"""Paths as values in Hydra's grammar."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mcl.config.quoting import quoted

PATHS = ["runs/a/0123", "/abs/x-1.5+2", "no slash", "10", "null", "a b/c", "a,b/c=d", 'it\'s/"so"', "x\\'/", "a/${b}"]


@pytest.mark.parametrize("path", [*PATHS, "é/ü"])
def test_any_folder_name_survives_hydras_grammar(path: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"hydra.run.dir={quoted(path)}"])
    assert str(OmegaConf.create({"dir": override.value()}).dir) == path


def test_plain_folders_are_not_quoted() -> None:
    assert quoted("runs/digits/resnet8/lmcl/0123456789") == "runs/digits/resnet8/lmcl/0123456789"
