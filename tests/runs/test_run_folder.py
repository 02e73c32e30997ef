"""Run folders: locks, changed settings and damaged files."""

import errno
import fcntl
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from support.small_runs import META, SMALL, Outcome

from mcl.data.fingerprint import fingerprint
from mcl.errors import IN_USE, UserError
from mcl.runs.lock import FolderLock, InUse, holder
from mcl.runs.run_folder import RunFolder
from mcl.runs.stored_config import plain, write_config
from mcl.runs.summary import with_checksum

ROOT = Path(__file__).resolve().parents[2]
Composed = Callable[..., DictConfig]


@pytest.fixture
def config(composed: Composed) -> DictConfig:
    return composed(*SMALL, *META)


@pytest.fixture
def stopped(undisturbed: Outcome, tmp_path: Path) -> Path:
    """Return the folder of an unfinished run with two checkpoints."""
    folder = tmp_path / "stopped"
    shutil.copytree(undisturbed.folder, folder)
    (folder / "summary.json").unlink()
    return folder


@pytest.fixture
def opened() -> Iterator[Callable[..., RunFolder]]:
    folders: list[RunFolder] = []

    def open_folder(path: Path, config: DictConfig) -> RunFolder:
        folders.append(RunFolder(path, config))
        return folders[-1]

    yield open_folder
    for folder in folders:
        folder.close()


def test_unfinished_run_is_locked_until_it_is_closed(stopped: Path, config: DictConfig) -> None:
    folder = RunFolder(stopped, config)
    assert folder.saved is not None
    with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on .*hydra\.run\.dir"):
        RunFolder(stopped, config)
    folder.close()
    RunFolder(stopped, config).close()
    assert not (stopped / "lock").exists()


def test_fingerprint_written_before_contents_counted_is_accepted(undisturbed: Outcome, config: DictConfig) -> None:
    folder = RunFolder(undisturbed.folder, config)
    assert folder.summary is not None
    names = folder.summary["data"]
    folder.check_same_data(fingerprint(names, "contents"))
    with pytest.raises(UserError, match="trained on other images"):
        folder.check_same_data(fingerprint("others", "contents"))


def test_finished_run_is_not_locked(undisturbed: Outcome, config: DictConfig) -> None:
    assert RunFolder(undisturbed.folder, config).finished
    assert RunFolder(undisturbed.folder, config).finished
    assert not (undisturbed.folder / "lock").exists()


def test_dead_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    code = (
        "import os, pathlib\nfrom mcl.runs.lock import FolderLock\n"
        f"lock = FolderLock(pathlib.Path({str(tmp_path)!r}))\nprint('held', flush=True)\ninput()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InUse, match=f"in use by process {process.pid}") as refused:
        FolderLock(tmp_path)
    assert refused.value.status == IN_USE == 69
    assert f"process {process.pid} on" in str(holder(tmp_path))
    process.kill()
    process.wait()
    assert (tmp_path / "lock").exists()
    assert holder(tmp_path) is None
    FolderLock(tmp_path).release()


def test_asking_for_the_holder_does_not_lock(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    (tmp_path / "lock").touch()
    with open(tmp_path / "lock") as lock_file:  # as holder does, for longer than it takes
        fcntl.flock(lock_file, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (lock_file, fcntl.LOCK_UN)).start()
        FolderLock(tmp_path).release()


def test_file_system_without_locks_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    FolderLock(tmp_path).release()
    assert "has no locks" in caplog.text


def test_harmless_changes_are_reported_and_accepted(
    stopped: Path, composed: Composed, opened: Callable[..., RunFolder]
) -> None:
    config = composed(
        *SMALL, *META, "trainer.log_every=7", "trainer.device=cpu", "trainer.max_checkpoints=4", "tracking=none"
    )
    folder = opened(stopped, config)
    assert folder.saved is not None
    for line in ("trainer.log_every: 3 -> 7", "trainer.device: auto -> cpu", "trainer.max_checkpoints: 2 -> 4"):
        assert f"resuming with {line}" in folder.notes
    assert not any("tracking" in note for note in folder.notes)


def test_changes_of_the_result_are_listed_and_refused(stopped: Path, composed: Composed) -> None:
    changed = composed(*SMALL, *META, "optimizer.lr=0.2", "loss.tau=0.2", "trainer.log_every=7")
    with pytest.raises(UserError) as refused:
        RunFolder(stopped, changed)
    for part in ("optimizer.lr: 0.1 -> 0.2", "loss.tau: 0.1 -> 0.2", "trainer.log_every: 3 -> 7  (does not"):
        assert part in str(refused.value)
    assert "resume=force" in str(refused.value)
    FolderLock(stopped).release()


def test_resume_force_accepts_changed_settings(small: Callable[..., Any], undisturbed: Outcome) -> None:
    shutil.copytree(undisturbed.folder, "run")
    more = ["trainer.epochs=3", "optimizer.momentum=0.5", "loss.weights.vcl=0.3"]
    assert small("run", *more).status == 1
    done = small("run", *more, "resume=force")
    assert done.status == 0, done.err
    assert "forced to resume with optimizer.momentum: 0.9 -> 0.5" in done.out
    after = Outcome("run")
    assert after.summary["steps"] == 15
    assert after.state["optimizers"][0]["param_groups"][0]["momentum"] == 0.5
    assert [row["step"] for row in after.metrics if "test/ensemble/top1" in row] == [5, 10, 15]
    assert small("run", *more).status == 0, "the new settings are the run's own now"


def test_changed_library_versions_are_reported(
    stopped: Path, config: DictConfig, opened: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcl.runs.run_folder.library_versions", lambda: {"torch": "9.9"})
    assert any("libraries.torch:" in note and "-> 9.9" in note for note in opened(stopped, config).notes)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[random.Random(1).randrange(len(content))] ^= 4
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


WAYS = [truncate, flip, empty, Path.unlink]


@pytest.mark.parametrize("damage", WAYS)
def test_damaged_checkpoint_is_replaced_by_the_one_before(
    damage: Callable[[Path], None],
    stopped: Path,
    config: DictConfig,
    opened: Callable[..., RunFolder],
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(stopped / "checkpoints" / "last.pt")
    folder = opened(stopped, config)
    assert folder.saved is not None
    assert folder.saved["step"] == 5
    assert "Resuming from step-5.pt instead" in caplog.text


@pytest.mark.parametrize("damage", WAYS)
def test_damaged_older_checkpoint_does_not_matter(
    damage: Callable[[Path], None], stopped: Path, config: DictConfig, opened: Callable[..., RunFolder]
) -> None:
    damage(stopped / "checkpoints" / "step-5.pt")
    folder = opened(stopped, config)
    assert folder.saved is not None
    assert folder.saved["step"] == 10


@pytest.mark.parametrize("damage", WAYS)
def test_error_names_a_remedy_if_no_checkpoint_is_intact(
    damage: Callable[[Path], None], stopped: Path, config: DictConfig, opened: Callable[..., RunFolder]
) -> None:
    for file in (stopped / "checkpoints").iterdir():
        damage(file)
    if damage is Path.unlink:
        folder = opened(stopped, config)
        assert folder.saved is None
        assert "has metrics but no checkpoint: training starts from the beginning" in folder.notes[0]
    else:
        with pytest.raises(UserError, match=r"(?s)No checkpoint can be used.*resume=never"):
            RunFolder(stopped, config)


@pytest.mark.parametrize("damage", WAYS)
def test_damaged_metrics_are_noticed(
    damage: Callable[[Path], None],
    stopped: Path,
    config: DictConfig,
    opened: Callable[..., RunFolder],
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(stopped / "metrics.jsonl")
    folder = opened(stopped, config)
    assert folder.saved is not None
    assert folder.saved["step"] in (5, 10)
    assert "metrics.jsonl" in caplog.text


@pytest.mark.parametrize("damage", WAYS)
def test_checkpoint_settings_replace_a_damaged_config(
    damage: Callable[[Path], None], stopped: Path, config: DictConfig, opened: Callable[..., RunFolder]
) -> None:
    damage(stopped / "config.yaml")
    folder = opened(stopped, config)
    assert folder.saved is not None
    assert folder.saved["step"] == 10
    assert any("config.yaml was missing or altered" in note for note in folder.notes)


@pytest.mark.parametrize("damage", [truncate, empty])
def test_broken_config_without_a_checkpoint_is_named(
    damage: Callable[[Path], None], stopped: Path, config: DictConfig
) -> None:
    shutil.rmtree(stopped / "checkpoints")
    (stopped / "config.yaml").write_text("seed: 0\npair: [")
    damage(stopped / "config.yaml")
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        RunFolder(stopped, config)


def drop_the_checksum(path: Path) -> None:
    content = json.loads(path.read_text())
    content["networks"][0]["top1_last"] = content.pop("sha256") and 99.0
    path.write_text(json.dumps(content))


def alter_a_number(path: Path) -> None:
    text = path.read_text()
    assert '"steps": 10' in text
    path.write_text(text.replace('"steps": 10', '"steps": 11'))


@pytest.mark.parametrize("damage", [truncate, empty, alter_a_number, drop_the_checksum])
def test_broken_summary_is_named(damage: Callable[[Path], None], undisturbed: Outcome, tmp_path: Path, config: Any):
    shutil.copytree(undisturbed.folder, tmp_path / "run")
    damage(tmp_path / "run" / "summary.json")
    with pytest.raises(UserError, match=r"summary\.json is broken.*Delete it"):
        RunFolder(tmp_path / "run", config)


def test_summary_of_other_settings_is_refused(undisturbed: Outcome, tmp_path: Path, config: DictConfig) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed.folder, run)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(with_checksum({**summary, "config_hash": "0123456789"})))
    with pytest.raises(UserError, match="belongs to a run with other settings"):
        RunFolder(run, config)


def test_temporary_files_of_a_killed_process_are_removed(
    stopped: Path, config: DictConfig, opened: Callable[..., RunFolder]
) -> None:
    temporary_file = stopped / "checkpoints" / "last.pt.tmp"
    temporary_file.write_bytes(b"half")
    opened(stopped, config).open()
    assert not temporary_file.exists()


def test_a_full_disk_is_told_and_the_older_checkpoint_stays(
    small: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcl.training import run

    monkeypatch.setattr(run, "check_disk", lambda *_: None)  # which would refuse this disk beforehand
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system can be mounted only by root")
    try:
        with caplog.at_level(logging.WARNING):
            refused = small(f"{disk}/run", "loss=independent", "trainer.max_checkpoints=20")
        assert refused.status == 1
        assert "No space left on device. Free some space there" in refused.err
        assert "Traceback" not in refused.err
        complete = list((disk / "run" / "checkpoints").iterdir())
        assert complete
        assert all(path.suffix == ".pt" for path in complete)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert small(f"{disk}/run", "loss=independent", "trainer.max_checkpoints=20").status == 0
        assert Outcome(disk / "run").summary["steps"] == 10
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert small(f"{disk}/run", "loss=independent", "trainer.max_checkpoints=20").status == 0, (
            "a finished run only reads"
        )
        refused = small(f"{disk}/run", "loss=independent", "resume=never")
        assert refused.status == 1
        assert "Read-only file system" in refused.err
        assert Outcome(disk / "run").summary["steps"] == 10
    finally:
        subprocess.run(["umount", str(disk)], check=True)


FAILING = ["dataset=synthetic", "loss.tau=0"]  # noticed once the run folder is there


@pytest.mark.parametrize("overrides", [[], ["-m", "seed=0,1"]])
@pytest.mark.parametrize("before", [".", "runs", "runs/synthetic", "runs/synthetic/resnet8/lmcl"])
def test_run_that_fails_at_start_removes_only_its_own_folders(
    before: str, overrides: list[str], command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / before).mkdir(parents=True, exist_ok=True)
    failed = command(*overrides, *FAILING)
    assert failed.status == 1
    assert "loss.tau=0" in failed.err
    assert (tmp_path / before).is_dir()
    multirun = {tmp_path / "runs", tmp_path / "runs" / "multirun.yaml"} if overrides else set()  # which Hydra keeps
    assert set((tmp_path / before).rglob("*")) <= multirun


@pytest.mark.parametrize("folder", ["mine/empty", "mine", "."])
def test_existing_folder_stays_if_the_run_fails(
    folder: str, command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "empty").mkdir(parents=True)
    failed = command(*FAILING, f"hydra.run.dir={folder}")
    assert failed.status == 1
    assert (tmp_path / "mine" / "empty").is_dir()
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "empty"]
    assert command(*FAILING, f"hydra.run.dir={folder}/new/run").status == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "empty"]


def test_starting_over_removes_the_record_of_an_import(
    tmp_path: Path, composed: Composed, opened: Callable[..., RunFolder]
) -> None:
    config = composed(*SMALL, *META, "resume=never")
    write_config(tmp_path, plain(config))
    (tmp_path / "imported.json").write_text("{}")
    opened(tmp_path, config).open()
    assert not (tmp_path / "imported.json").exists()  # a bundle of the new run would say that it was imported
