"""How far a run is, from the end of its metrics.jsonl."""

import json
import os
import time
from pathlib import Path
from typing import Any

from mcl.launching.job import Job

TAIL = 2**16  # bytes, more than a line has


def fraction_done(metrics: Path, epochs: int | None, max_steps: int | None, since: float = 0.0) -> float | None:
    """The part of its steps that a run has done, from 0 to 1; None while nothing says so.

    An evaluation ends an epoch, so its line tells how many steps an epoch has. Before the first one, the epochs that
    have ended count alone.

    Args:
        metrics: the file, which need not exist.
        epochs: that the run will train.
        max_steps: at which it stops, whatever the epoch.
        since: seconds since 1970; a file that was last written before is that of an earlier attempt.
    """
    lines = _last_lines(metrics, since)
    if not lines:
        return None
    step, epoch = lines[-1]["step"], lines[-1]["epoch"]
    ends = [line for line in lines if any(name.startswith(("test/", "validation/")) for name in line)]
    totals = [float(max_steps)] if max_steps else []
    if epochs and ends and ends[-1]["epoch"]:
        totals.append(ends[-1]["step"] / ends[-1]["epoch"] * epochs)
    if totals:
        return min(1.0, step / min(totals))
    return min(1.0, max(0, epoch - 1) / epochs) if epochs else None


def _last_lines(metrics: Path, since: float) -> list[dict[str, Any]]:
    try:
        with open(metrics, "rb") as file:
            if os.fstat(file.fileno()).st_mtime < since:
                return []
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            tail = file.read()
    except OSError:
        return []
    rows = []
    for line in tail.splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off at either end
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int) and isinstance(row.get("epoch"), int):
            rows.append(row)
    return rows


class Pace:
    """How far a job is, and how long it still takes, from looks at it."""

    def __init__(self, job: Job) -> None:
        self.done: float | None = None
        self._job = job
        self._first: tuple[float, float] | None = None  # when a number was first there, and which

    def look(self, since: float) -> None:
        """Read how far it is now; what was written before ``since`` (seconds since 1970) does not count."""
        self.done = fraction_done(
            self._job.folder / "metrics.jsonl", self._job.epochs, self._job.max_steps, since=since
        )
        if self.done is not None and self._first is None:
            self._first = time.monotonic(), self.done

    def left(self) -> float | None:
        """Seconds, at the speed since the first number: what was before is start-up."""
        if self._first is None or self.done is None or self.done <= self._first[1]:
            return None
        when, then = self._first
        return (time.monotonic() - when) / (self.done - then) * (1.0 - self.done)
