"""Write the record of a run while it trains: its metrics, then its summary or the reason why it stopped."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from mcl.files import write_atomically, write_error
from mcl.runs.layout import FAILURE, METRICS, SUMMARY
from mcl.runs.metrics_file import cut
from mcl.runs.presence import Presence
from mcl.runs.summary import METRICS_KEY, metrics_checksum, with_checksum


class RunWriter:
    """``metrics.jsonl`` during training; then ``summary.json``, or ``failure.json`` if training did not finish.

    A line of ``metrics.jsonl`` is ``{"step", "epoch", "time", <metric>: <value>, ...}``, with the time in seconds since
    the run began, earlier attempts included. It reaches the operating system before `log` returns, so a killed process
    loses nothing. All files are strict JSON: a number that is not finite is ``null``, which pandas reads as NaN.

    Args:
        folder: folder of the run; created if it does not exist.
        step: step of the checkpoint to resume from; later lines are removed.
        evaluation_is_due: whether the evaluation at this step will be repeated.

    Attributes:
        step: the last one known, for `fail`.

    Raises (from every method):
        UserError: A file cannot be written.
    """

    def __init__(self, folder: Path, step: int = 0, evaluation_is_due: bool = False) -> None:
        self.folder = folder
        self.step = step
        self._metrics = folder / METRICS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for outcome in (SUMMARY, FAILURE):  # of an earlier attempt
                (folder / outcome).unlink(missing_ok=True)
            seconds = cut(folder, step, evaluation_is_due)
            self._file = open(self._metrics, "ab", 0, opener=_no_link)  # noqa: SIM115 - open for as long as the run
        except OSError as error:
            raise write_error(self._metrics, error) from error
        self._presence = Presence(self._metrics, self._file.fileno())
        self._began = monotonic() - seconds

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Append a line."""
        self._presence.check()
        self.step = step
        line = strict_json({"step": step, "epoch": epoch, "time": self._seconds(), **metrics}) + b"\n"
        try:
            while line:
                line = line[os.write(self._file.fileno(), line) :]
        except OSError as error:
            raise write_error(self._metrics, error) from error

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run as finished."""
        self._presence.check()
        self._file.close()
        try:
            written = {**_finite(summary), METRICS_KEY: metrics_checksum(self.folder)}
        except OSError as error:
            raise write_error(self._metrics, error) from error
        write_atomically(self.folder / SUMMARY, strict_json(with_checksum(written), indent=2) + b"\n")

    def fail(self, status: str, error: BaseException | None) -> None:
        """Record why the run stopped."""
        self._file.close()
        if self._presence.lost():
            return  # the folder is gone, and what is in its place is not ours
        failure = {
            "status": status,
            "error": None if error is None else type(error).__name__,
            "message": None if error is None else str(error),
            "step": self.step,
            "time": self._seconds(),
        }
        write_atomically(self.folder / FAILURE, strict_json(failure, indent=2) + b"\n")

    def _seconds(self) -> float:
        return round(monotonic() - self._began, 3)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def strict_json(value: object, indent: int | None = None) -> bytes:
    """Return JSON as UTF-8, with null for numbers that are not finite.

    A byte of a file name that is not UTF-8, which Python holds as a lone surrogate, is written as an escape.
    """
    text = json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)
    return text.encode(errors="backslashreplace")


def _finite(value: Any) -> Any:
    """Replace the numbers that JSON does not have by null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
