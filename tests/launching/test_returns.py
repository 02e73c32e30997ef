"""Return values and exit statuses for the launcher."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from support.small_runs import SMALL

from mcl.config.entry import RETURN_FILE
from mcl.errors import IN_USE, OUT_OF_MEMORY, UserError
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


def out_of_cuda_memory(*_: object) -> NoReturn:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 16.00 GiB.")


def out_of_memory_for_images(*_: object) -> NoReturn:
    try:
        out_of_cuda_memory()
    except torch.OutOfMemoryError as error:
        raise UserError("The images do not fit.") from error


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (
            out_of_cuda_memory,
            "error: CUDA out of memory. Use a smaller trainer.batch_size or, in a multirun, fewer jobs",
        ),
        (out_of_memory_for_images, "error: The images do not fit."),
    ],
)
def test_run_that_runs_out_of_memory_has_its_own_exit_status(
    command: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    rank: str,
    failure: Callable[..., NoReturn],
    line: str,
) -> None:
    monkeypatch.setenv(RETURN_FILE, str(tmp_path / "0.json"))
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("mcl.training.run.Run.fit", failure)
    done = command(*RUN)
    assert done.status == OUT_OF_MEMORY
    assert [text for text in done.err.splitlines() if line in text]
    assert "Traceback" not in done.err
    assert json.loads((tmp_path / "0.json").read_text()) == {"exit_status": OUT_OF_MEMORY}
