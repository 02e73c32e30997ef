"""Facts that the launcher reads from a run folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.errors import Stopped as LauncherStopped
from hydra_gpu_launcher.job import Outcome
from mcl.errors import UserError
from mcl.launching.own_errors import own_errors
from mcl.launching.run_job import TOP1, RunJob
from mcl.runs.lock import FolderLock
from mcl.runs.summary import with_checksum
from mcl.signals import Stopped


def job(folder: Path, **fields: Any) -> RunJob:
    return RunJob(**{"name": "a", "folder": folder, "command": (), "config_hash": "a"} | fields)


@pytest.mark.parametrize(
    "content", ["", '{"config_hash": "other"}', '{"config_hash": "a"}', '{"config_hash": "a", "sha256": "0"}', "[]"]
)
def test_summary_of_another_run_does_not_count(tmp_path: Path, content: str) -> None:
    (tmp_path / "summary.json").write_text(content)
    assert job(tmp_path).summary() is None


def test_intact_summary_counts_unless_the_run_is_to_start_over_or_its_images_differ(tmp_path: Path) -> None:
    values = with_checksum({"config_hash": "a", "data": "1"})
    (tmp_path / "summary.json").write_text(json.dumps(values))
    assert job(tmp_path).summary() == values
    assert job(tmp_path, same_data=lambda stored: stored == "2").summary() is None
    assert job(tmp_path, config_hash=None).summary() is None
    assert job(tmp_path, config_hash=None).new_summary() == values


def test_process_that_works_in_the_folder_is_named(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    assert "process" in str(job(tmp_path).holder())
    lock.release()
    assert job(tmp_path).holder() is None


def test_progress_and_milestone_come_from_the_metrics(tmp_path: Path) -> None:
    line = {"step": 4, "epoch": 1, "time": 1.0, "test/ensemble/top1": 50.0}
    run = job(tmp_path, epochs=4)
    assert (run.progress(0.0), run.milestone(9.0)) == (None, 0)
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    progress = run.progress(0.0)
    assert progress is not None
    assert progress[0] == 0.25
    assert run.milestone(0.0) == 4


def test_score_is_the_mean_of_the_deployed_networks(tmp_path: Path) -> None:
    summary = {"networks": [{"top1_last": 90.0}, {"top1_last": 93.0}, {"top1_last": None}]}
    assert TOP1.text(Outcome(job(tmp_path), summary=summary)) == "91.50"
    assert TOP1.text(Outcome(job(tmp_path))) == "-"
    teacher = {"networks": [{"key": "a", "top1_last": 10.0}, {"key": "b", "top1_last": 90.0}], "deployed": ["a"]}
    assert TOP1.text(Outcome(job(tmp_path), summary=teacher)) == "10.00"


def test_errors_of_the_launcher_become_those_of_this_project() -> None:
    with pytest.raises(UserError, match="named twice"), own_errors():
        raise LauncherError("named twice")
    with pytest.raises(Stopped, match="SIGTERM"), own_errors():
        raise LauncherStopped("SIGTERM")
