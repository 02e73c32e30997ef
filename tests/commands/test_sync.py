from pathlib import Path

import pytest

from mcl.__main__ import main
from mcl.commands.sync import offline_runs


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
    return tmp_path


def test_every_attempt_below_a_place_is_found(runs: Path) -> None:
    assert [folder.name[12:20] for folder in offline_runs([runs])] == ["20260101", "20260102", "20260103"]
    assert [folder.name[-1] for folder in offline_runs([runs / "a/c/2"])] == ["y", "y"]


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


@pytest.mark.parametrize(("place", "message"), [("nowhere", "no such folder"), (".", "no run here was tracked")])
def test_place_without_offline_runs_is_refused(
    place: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sync", place]) == 1
    assert message in capsys.readouterr().err
