"""The list of damaged images in a run folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mcl.runs.unreadable import add_unreadable


def test_each_file_is_listed_once(tmp_path: Path) -> None:
    add_unreadable(tmp_path, {})
    assert not list(tmp_path.iterdir())
    add_unreadable(tmp_path, {"b.jpg": "truncated", "a.jpg": "no image"})
    add_unreadable(tmp_path, {"b.jpg": "truncated", "c\n.jpg": "no image"})
    lines = (tmp_path / "unreadable.txt").read_text().splitlines()
    assert lines == ["a.jpg: no image", "b.jpg: truncated", "c\\n.jpg: no image"]


def test_a_list_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "unreadable.txt").symlink_to(victim)
    add_unreadable(tmp_path, {"a.jpg": "no image"})
    assert "unreadable.txt cannot be written" in caplog.text
    assert not victim.exists()


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_run_lists_every_skipped_file(
    storage: str, command: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (8, 8), (10 * number, 0, 0)).save(tmp_path / "photos" / name / f"{number:02}.png")
    damaged = [tmp_path / "photos" / "cat" / f"{number:02}.png" for number in range(12)]
    for path in damaged:
        path.write_text("a text")
    photos = ("dataset=folder", f"dataset.root={tmp_path / 'photos'}", "dataset.corrupt=skip")
    reading = (f"dataset.storage={storage}", "dataset.workers=0", "trainer.batch_size=8", "trainer.max_steps=1")
    done = command(*photos, *reading, "loss=independent", "tracking=none", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.status == 0, done.err
    assert "skipped 12 unreadable of 40 files: cat/00.png, " in caplog.text
    assert "cat/09.png and 2 more" in caplog.text
    listed = (tmp_path / "run" / "unreadable.txt").read_text().splitlines()
    assert listed == [f"{path}: no image, or one of an unknown format" for path in damaged]
