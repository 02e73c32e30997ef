"""Return values and exit statuses for the launcher."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_runs import SMALL

from mcl.config.entry import RETURN_FILE
from mcl.errors import IN_USE
from mcl.runs.lock import FolderLock

RUN = [*SMALL, "loss=independent", "trainer.max_steps=1", "trainer.device=cpu", "hydra.run.dir=run"]


def test_run_that_cannot_write_its_return_value_has_finished(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(RETURN_FILE, "/gone/0.json")  # as after a clean-up of /tmp
    done = command(*RUN)
    assert done.status == 0
    assert "error:" not in done.err
    assert [record.message for record in caplog.records if "/gone/0.json" in record.message] == [
        "The result could not be returned, but is in the run folder: [Errno 2] No such file or directory:"
        " '/gone/0.json.tmp'"
    ]
    assert Path("run/summary.json").exists()


def test_folder_in_use_has_its_own_exit_status(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(RETURN_FILE, str(tmp_path / "0.json"))
    lock = FolderLock(tmp_path / "run")
    assert command(*RUN).status == IN_USE
    assert json.loads((tmp_path / "0.json").read_text()) == {"exit_status": IN_USE}, "which torchrun would hide"
    lock.release()
