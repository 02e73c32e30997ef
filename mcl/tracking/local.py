"""Log to files in the run folder, the record that every other tracker is checked against."""

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

from mcl.files import write_atomically, write_error
from mcl.runs.evaluation_record import remove_evaluation
from mcl.runs.metrics_file import METRICS, cut
from mcl.runs.summary import with_checksum
from mcl.tracking.confusion import confusion_of, write_confusion
from mcl.tracking.tracker import RunInfo, Snapshot, Status, Tracker

SUMMARY = "summary.json"
FAILURE = "failure.json"
EVALUATION = Path("evaluation", "test")  # where `python -m mcl evaluate` writes, too

logger = logging.getLogger(__name__)


class LocalFiles(Tracker):
    """``metrics.jsonl`` while the run goes on; ``summary.json`` once it has finished, ``failure.json`` if it stopped.

    A line of ``metrics.jsonl`` is one call of ``log``: ``{"step", "epoch", "time", <metric>: <value>, ...}``, with the
    time in seconds since the run began, earlier attempts included. It reaches the operating system before ``log``
    returns, so a killed process loses nothing. All files are strict JSON: a number that is not finite is ``null``,
    which pandas reads as NaN.

    After the last epoch, the confusion matrices of the backbones and the ensemble go to ``evaluation/test/``.

    A resumed run keeps the lines up to the step of its checkpoint and writes the later ones anew. For this to leave
    neither gap nor repetition, the lines of a step must be logged before the checkpoint of that step is written. That
    of an evaluation may follow it, if the checkpoint says that the evaluation is still due.

    Raises (from every method):
        UserError: if a file cannot be written.
    """

    name = "local files"
    required = True

    def __init__(self) -> None:
        self._run: RunInfo | None = None  # none before a start that succeeded
        self._file: BinaryIO

    def start(self, run: RunInfo) -> None:
        path = run.run_dir / METRICS
        try:
            run.run_dir.mkdir(parents=True, exist_ok=True)
            (run.run_dir / SUMMARY).unlink(missing_ok=True)
            seconds = cut(path, run.resumed_step, run.resumed_before_evaluation)
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - open for as long as the run
        except OSError as error:
            raise write_error(path, error) from error
        self._run = run
        self._began = monotonic() - seconds
        self._step = run.resumed_step

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        assert self._run is not None, "log comes after start"
        line = _json({"step": step, "epoch": epoch, "time": self._seconds(), **metrics}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._file.fileno(), line) :]
        except OSError as error:
            raise write_error(self._run.run_dir / METRICS, error) from error
        self._step = step

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        return epoch >= run.total_epochs

    def snapshot(self, snapshot: Snapshot) -> None:
        assert self._run is not None, "look comes after start"
        folder = self._run.run_dir / EVALUATION
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_evaluation(folder)  # of an earlier end of this run, which went on
        except OSError as error:
            raise write_error(folder, error) from error
        for name, predicted in snapshot.predicted.items():
            head = name if name == "ensemble" else f"{name}/backbone"
            confusion = confusion_of(snapshot.labels, predicted, len(snapshot.classes))
            write_confusion(folder, head, confusion, snapshot.classes)

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._run is None:
            return
        folder, self._run = self._run.run_dir, None
        self._file.close()
        if status == "finished":
            (folder / FAILURE).unlink(missing_ok=True)
            write_atomically(folder / SUMMARY, _json(with_checksum(_finite(summary or {})), indent=2) + "\n")
        else:
            failure = {
                "status": status,
                "error": None if error is None else type(error).__name__,
                "message": None if error is None else str(error),
                "step": self._step,
                "time": self._seconds(),
            }
            write_atomically(folder / FAILURE, _json(failure, indent=2) + "\n")

    def _seconds(self) -> float:
        return round(monotonic() - self._began, 3)


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _finite(value: Any) -> Any:
    """``value`` with null in place of the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
