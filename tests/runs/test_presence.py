"""A run folder that vanishes, or is replaced, is noticed at the next write; what is there then stays as it is."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcl.runs.lock import FolderLock
from mcl.runs.presence import FolderGone, Presence

RUN = Path("run")


def removed() -> None:
    shutil.rmtree(RUN)


def moved() -> None:
    RUN.rename("elsewhere")


def replaced() -> None:
    RUN.rename("elsewhere")
    RUN.mkdir()
    (RUN / "lock").write_text("of another process")


def emptied() -> None:
    for file in ("metrics.jsonl", "config.yaml"):
        (RUN / file).unlink()


@pytest.mark.parametrize("vanish", [removed, moved, replaced, emptied])
@pytest.mark.parametrize("options", [["trainer.checkpoint_every=1", "trainer.log_every=100"], ["trainer.log_every=1"]])
def test_a_folder_that_vanishes_stops_the_run(
    vanish: Callable[[], None], options: list[str], small: Callable[..., Any], during_step: Callable[..., None]
) -> None:
    during_step(6, vanish)
    done = small("run", "loss=independent", *options)
    assert done.status == 1
    assert "removed, moved or replaced while the run worked in it" in done.err
    assert not (RUN / "summary.json").exists()
    if vanish is not emptied:
        assert [path.name for path in RUN.glob("*")] == (["lock"] if vanish is replaced else [])


def test_a_file_is_known_by_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    presence = Presence(file)
    presence.check()
    file.write_text("more")
    presence.check()
    other = tmp_path / "other"
    other.touch()
    other.replace(file)
    with pytest.raises(FolderGone):
        presence.check()


def test_the_lock_of_another_process_is_not_removed(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.path.rename(tmp_path / "old")
    lock.path.write_text("of another process")
    lock.release()
    assert lock.path.read_text() == "of another process"


@pytest.mark.parametrize("names", [["cat", "dog"], ["notes.txt"], ["cat", "cat.log"]])
def test_a_folder_with_other_files_is_no_run_folder(names: list[str], small: Callable[..., Any]) -> None:
    RUN.mkdir()
    for name in names:
        (RUN / name).touch()
    done = small("run")
    foreign = ", ".join(name for name in names if not name.endswith(".log"))
    assert (done.status, f"holds {foreign}, but no run" in done.err) == (1, True)
    assert sorted(path.name for path in RUN.iterdir()) == names


def test_the_output_of_the_command_may_lie_there_before(small: Callable[..., Any]) -> None:
    RUN.mkdir()
    for name in ("job.log", "slurm-1.out", ".gitkeep"):
        (RUN / name).touch()
    assert small("run", "loss=independent", "trainer.max_steps=1").status == 0


def test_a_file_in_place_of_the_checkpoints_is_refused_before_training(small: Callable[..., Any]) -> None:
    RUN.mkdir()
    (RUN / "checkpoints").touch()
    done = small("run")
    assert (done.status, "is a file, where the checkpoints would go" in done.err) == (1, True)


def test_only_folders_that_the_run_made_are_removed(
    small: Callable[..., Any], during_step: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcl.training.run import Run

    Path("own/empty").mkdir(parents=True)
    monkeypatch.setattr(Run, "announce", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert small("own/empty/new/run").status == 75
    assert (Path("own/empty").is_dir(), list(Path("own/empty").iterdir())) == (True, [])


def test_a_failure_names_the_step_that_was_reached(small: Callable[..., Any], during_step: Callable[..., None]) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "disk")

    during_step(4, fail)
    done = small("run", "loss=independent", "trainer.log_every=100")
    assert (done.status, "failed at step 4 of 10" in done.out) == (1, True)
    assert json.loads((RUN / "failure.json").read_text())["step"] == 4


def test_a_lock_that_vanishes_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def vanishes_once(lock: FolderLock, descriptor: int) -> None:
        tries.append(descriptor)
        if len(tries) == 1:
            lock.path.unlink()

    monkeypatch.setattr(FolderLock, "_lock", vanishes_once)
    monkeypatch.setattr(Path, "exists", lambda _: True)  # it was there a moment ago
    lock = FolderLock(tmp_path)
    monkeypatch.undo()
    assert len(tries) == 2
    assert lock.path.is_file()
    lock.release()
