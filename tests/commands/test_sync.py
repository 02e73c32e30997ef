import subprocess
from pathlib import Path

import pytest

from mcl.__main__ import main
from mcl.commands.sync import offline_runs
from mcl.runs.lock import FolderLock


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Make two offline runs, the second of which was resumed, and one online run."""
    for run, attempt in (
        ("a/b/1", "offline-run-20260101_000000-x"),
        ("a/c/2", "offline-run-20260102_000000-y"),
        ("a/c/2", "offline-run-20260103_000000-y"),
        ("a/d/3", "run-20260103_000000-z"),
    ):
        folder = tmp_path / run / "wandb" / attempt
        folder.mkdir(parents=True)
        (folder / f"run-{attempt[-1]}.wandb").touch()
        (tmp_path / run / "config.yaml").touch()
    return tmp_path


def test_every_attempt_below_a_place_is_found(runs: Path) -> None:
    assert [folder.name[12:20] for folder in offline_runs([runs])] == ["20260101", "20260102", "20260103"]
    assert [folder.name[-1] for folder in offline_runs([runs / "a/c/2"])] == ["y", "y"]


def test_runs_behind_a_link_to_another_disk_are_found_once(runs: Path) -> None:
    (runs / "a/c").rename(runs / "disk")
    (runs / "a/c").symlink_to(runs / "disk")
    (runs / "a/again").symlink_to(runs / "disk")
    assert [folder.name[12:20] for folder in offline_runs([runs / "a"])] == ["20260101", "20260102", "20260103"]


def test_offline_runs_are_passed_to_wandb(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    class Done:
        returncode = 0

    monkeypatch.setattr("subprocess.run", lambda command, **_: commands.append(command) or Done())
    assert main(["sync", str(runs / "a/b"), "--dry-run"]) == 0
    (command,) = commands
    assert command[1:5] == ["-m", "wandb", "sync", "--dry-run"]
    assert [Path(folder).name for folder in command[5:]] == ["offline-run-20260101_000000-x"]


def test_link_that_wandb_itself_makes_is_no_obstacle(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 0))
    folder = next(runs.glob("a/b/1/wandb/*"))
    for name in ("logs", "files"):
        (folder / name).mkdir()
    (folder / "logs/debug-core.log").symlink_to("/nowhere/core-debug.log")
    assert main(["sync", str(runs), "--dry-run"]) == 0
    (folder / "files/config.yaml").symlink_to("/etc/hosts")  # would be uploaded
    assert main(["sync", str(runs), "--dry-run"]) == 1
    assert "files/config.yaml is a link that leads out of" in capsys.readouterr().err


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that W&B's own command gets."""
    folders: list[str] = []
    monkeypatch.setattr(
        "subprocess.run", lambda command, **_: folders.extend(command[5:]) or subprocess.CompletedProcess(command, 0)
    )
    return folders


def test_moved_run_is_skipped_because_its_tables_would_be_lost(
    runs: Path, uploaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (runs / "a/b/1").glob("wandb/offline-run-*/*.wandb")
    divided = bytes(runs / "a") + b"\x9c\x00\x01/b/1"  # by the head of a block
    for place, count in ((bytes(runs / "a/b/1"), 1), (divided, 1), (bytes(runs / "old"), 0)):
        uploaded.clear()
        file.write_bytes(b"2/" + place + b'/wandb/data/artifacts/staging/tmp1"')
        assert main(["sync", str(runs / "a/b"), "--dry-run"]) == 0
        assert len(uploaded) == count
    assert "a/b/1 is skipped: it was moved since W&B wrote it." in capsys.readouterr().out
    (runs / "old").symlink_to(runs / "a/b/1")
    assert main(["sync", str(runs / "old"), "--dry-run"]) == 0
    file.with_name(f"{file.name}.synced").touch()
    assert main(["sync", str(runs / "a/b"), "--dry-run"]) == 0
    assert len(uploaded) == 2


def test_run_that_is_still_training_is_skipped(
    runs: Path, uploaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lock = FolderLock(runs / "a/c/2")
    assert main(["sync", str(runs), "--dry-run"]) == 0
    assert [Path(folder).name for folder in uploaded] == ["offline-run-20260101_000000-x"]
    assert "a/c/2 is skipped: in use by process" in capsys.readouterr().out
    uploaded.clear()
    assert main(["sync", str(runs / "a/c"), "--dry-run"]) == 0
    assert not uploaded
    lock.release()


@pytest.mark.parametrize(("place", "message"), [("nowhere", "no such folder"), (".", "no run here was tracked")])
def test_place_without_offline_runs_is_refused(
    place: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sync", place]) == 1
    assert message in capsys.readouterr().err
