"""The Logs tab of a Weights & Biases run: what the terminal shows, as plain lines."""

import io
import logging
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mcl.console import PLAIN_WIDTH
from mcl.errors import UserError
from mcl.tracking.summary_table import print_plan
from mcl.tracking.terminal import Terminal
from mcl.tracking.tracker import RunInfo, Status

if TYPE_CHECKING:
    import wandb

PACKAGE = "mcl"  # whose warnings are shown


class LogsTab(logging.Handler):
    """Write the overview, a line per evaluation, all warnings, and the result or the traceback.

    W&B's own capture of standard output is of no use here: a live display is not a log.

    Args:
        run: where to.
        info: of the run.
    """

    def __init__(self, run: "wandb.Run", info: RunInfo):
        super().__init__(logging.WARNING)
        self._run = run
        self._text = io.StringIO()
        console = Console(file=self._text, width=PLAIN_WIDTH, markup=False, emoji=False, highlight=False, no_color=True)
        self._terminal = Terminal(console)
        if info.overview:
            print_plan(info.overview, info.notes, console)
        self._terminal.start(info)
        self._write()
        logging.getLogger(PACKAGE).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a warning; called by any thread."""
        try:
            self._run.write_logs(f"{record.levelname.lower()}: {record.getMessage()}")
        except Exception:
            self.handleError(record)

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Write the lines that are due with these metrics."""
        self._terminal.log(metrics, step=step, epoch=epoch)
        self._write()

    def reached(self, step: int) -> None:
        """Take note of the step that `finish` reports."""
        self._terminal.reached(step)

    def finish(self, status: Status, summary: Mapping[str, Any] | None, error: BaseException | None) -> None:
        """Write how the run ended."""
        self.detach()
        if summary or status != "finished":
            self._terminal.finish(status, summary, error)
            self._write()
        if status == "failed" and error is not None:
            self._run.write_logs(
                f"error: {error}" if isinstance(error, UserError) else "".join(traceback.format_exception(error))
            )

    def detach(self) -> None:
        """Show no further warnings."""
        logging.getLogger(PACKAGE).removeHandler(self)

    def _write(self) -> None:
        lines = [line.rstrip() for line in self._text.getvalue().splitlines()]
        self._text.seek(0)
        self._text.truncate()
        if lines:
            self._run.write_logs("\n".join(lines))
