"""docs/photos.md: its commands are run one after the other on a few of the example photos."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.doc_pages import ROOT, typed_lines

from mcl.__main__ import main

PAGE = ROOT / "docs" / "photos.md"
PHOTOS = ROOT / "docs" / "example_photos"
QUICK = ["trainer.epochs=1", "trainer.batch_size=8", "tracking=none", "trainer.device=cpu"]
KEPT = {"train": 8, "test": 2}  # photos of each class


@pytest.fixture
def few_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for split, count in KEPT.items():
        for folder in sorted((PHOTOS / split).iterdir()):
            to = tmp_path / PHOTOS.relative_to(ROOT) / split / folder.name
            to.mkdir(parents=True)
            for photo in sorted(folder.iterdir())[:count]:
                shutil.copy(photo, to)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_lead_from_photos_to_a_prediction(few_photos: Path, command: Callable[..., Any], capfd: Any) -> None:
    pytest.importorskip("onnxruntime")
    for text in typed_lines(PAGE):
        words = shlex.split(text)
        if words[:2] == ["python", "train.py"]:
            done = command(*words[2:], *QUICK)
            assert done.status == 0, done.err
        elif words[:3] == ["python", "-m", "mcl"]:
            few = ["--turns", "3"] if words[3] == "latency" else ["--calibration", "8"] if "--int8" in words else []
            capfd.readouterr()
            assert main([*words[3:], *few]) == 0, capfd.readouterr().err
        else:
            assert words[0] == "pip"
    assert "docs/example_photos/test/star/00.jpg: " in capfd.readouterr().out
    assert "## Gain over training alone" in (few_photos / "runs/photos/RESULTS.md").read_text()
    assert "int8" in (few_photos / "runs/photos/taught/export/README.md").read_text()


def test_photos_are_the_ones_that_the_program_draws(tmp_path: Path) -> None:
    shutil.copy(PHOTOS / "draw.py", tmp_path)
    names = sorted(str(photo.relative_to(PHOTOS)) for photo in PHOTOS.glob("*/*/*.jpg"))
    program: dict[str, Any] = {"__name__": "draw", "__file__": str(tmp_path / "draw.py")}
    exec((tmp_path / "draw.py").read_text(), program)
    program["main"]()
    assert sorted(str(photo.relative_to(tmp_path)) for photo in tmp_path.glob("*/*/*.jpg")) == names
    assert len(names) == 320
