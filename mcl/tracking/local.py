"""Log to files in the run folder, the record that every other tracker is checked against."""

from collections.abc import Mapping
from typing import Any

from mcl.files import write_error
from mcl.runs.confusion_file import write_confusion
from mcl.runs.evaluation_record import remove_evaluation
from mcl.runs.layout import EVALUATION, TEST
from mcl.runs.writer import RunWriter
from mcl.tracking.tracker import RunInfo, Snapshot, Status, Tracker


class LocalFiles(Tracker):
    """The files of `mcl.runs.writer.RunWriter`, and confusion matrices in ``evaluation/test/`` after the last epoch.

    A resumed run keeps the lines up to the step of its checkpoint and writes the later ones anew. For this to leave
    neither gap nor repetition, the lines of a step must be logged before the checkpoint of that step is written. The
    line of an evaluation may follow it, if the evaluation at the checkpoint is still due.

    Raises (from every method):
        UserError: A file cannot be written.
    """

    name = "local files"
    required = True

    def __init__(self) -> None:
        self._writer: RunWriter | None = None  # none before a successful start

    def start(self, run: RunInfo) -> None:
        self._writer = RunWriter(run.run_dir, run.resumed_step, run.resumed_before_evaluation)

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        assert self._writer is not None, "log comes after start"
        self._writer.log(metrics, step=step, epoch=epoch)

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        return epoch >= run.total_epochs

    def snapshot(self, snapshot: Snapshot) -> None:
        assert self._writer is not None, "snapshot comes after start"
        folder = self._writer.folder / EVALUATION / TEST
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_evaluation(folder)  # evaluation of an earlier end of this run
        except OSError as error:
            raise write_error(folder, error) from error
        for name in snapshot.predicted:
            head = name if name == "ensemble" else f"{name}/backbone"
            write_confusion(folder, head, snapshot.confusion(name).tolist(), snapshot.classes)

    def reached(self, step: int) -> None:
        if self._writer is not None:
            self._writer.step = step

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._writer is None:
            return
        if status == "finished":
            self._writer.finish(summary or {})  # if the disk is full, `finish` is called again, to say so
        else:
            self._writer.fail(status, error)
        self._writer = None
