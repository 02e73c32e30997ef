"""Figures are made in one place; a font of the system has the characters that matplotlib's own lacks."""

import re
import warnings
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib.font_manager import fontManager

from mcl.drawing import fonts_of_the_system
from mcl.tracking.media import confusion_picture

ROOT = Path(__file__).parent.parent


def test_figures_are_made_in_one_place() -> None:
    """No other file opens one with pyplot, which would look for a display."""
    files = [*(ROOT / "mcl").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")]
    makers = [file.name for file in files if re.search(r"\bFigure\(|pyplot", file.read_text(encoding="utf-8"))]
    assert makers == ["drawing.py"]


def test_fonts_that_the_system_has_follow_the_usual_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fontManager, "get_font_names", lambda: ["DejaVu Sans", "PingFang SC", "Comic Sans MS"])
    before = list(matplotlib.rcParams["font.family"])
    with fonts_of_the_system():
        assert matplotlib.rcParams["font.family"] == [*before, "PingFang SC"]
    assert matplotlib.rcParams["font.family"] == before


def test_a_missing_character_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fontManager, "get_font_names", list)
    with warnings.catch_warnings(record=True) as caught:
        confusion_picture(torch.ones(2, 2, dtype=torch.int64), ["猫", "狗"], "test")
    assert caught == []


def test_class_names_on_the_axes_may_be_long_and_are_no_formulas() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a layout in which the names leave no room for the matrix
        confusion_picture(torch.ones(3, 3, dtype=torch.int64), ["$_$ and $^$", "W" * 120, "猫"], "test")
