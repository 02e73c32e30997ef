"""Estimate how far a run is from the end of its metrics.jsonl."""

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

TAIL = 2**16  # bytes, more than a line has


class Progress(NamedTuple):
    """The part that is done, from 0 to 1, and the seconds that the rest will take; None where nothing says so."""

    done: float
    left: float | None


def read_progress(metrics: Path, epochs: int | None, max_steps: int | None, since: float = 0.0) -> Progress | None:
    """How far a run is; None while nothing says so.

    An evaluation ends an epoch, so its line tells how many steps an epoch has. Before the first one, the epochs that
    have ended count alone.

    Args:
        metrics: the file, which need not exist.
        epochs: that the run will train.
        max_steps: at which it stops, whatever the epoch.
        since: seconds since 1970; a file that was last written before is that of an earlier attempt.
    """
    written, lines = _last_lines(metrics)
    if not lines or written < since:
        return None
    step, epoch, seconds = (lines[-1][name] for name in ("step", "epoch", "time"))
    ends = [line for line in lines if any(name.startswith(("test/", "validation/")) for name in line)]
    totals = [float(max_steps)] if max_steps else []
    if epochs and ends and ends[-1]["epoch"]:
        totals.append(ends[-1]["step"] / ends[-1]["epoch"] * epochs)
    if totals:
        done = min(1.0, step / min(totals))
    elif epochs:
        done = min(1.0, max(0, epoch - 1) / epochs)
    else:
        return None
    return Progress(done, max(0.0, seconds / done * (1.0 - done) - (time.time() - written)) if done else None)


def _last_lines(metrics: Path) -> tuple[float, list[dict[str, Any]]]:
    """When the file was written (seconds since 1970), and its last whole lines."""
    try:
        with open(metrics, "rb") as file:
            written = os.fstat(file.fileno()).st_mtime
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            tail = file.read()
    except OSError:
        return 0.0, []
    rows = []
    for line in tail.splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off at either end
            continue
        if isinstance(row, dict) and all(isinstance(row.get(name), int | float) for name in ("step", "epoch", "time")):
            rows.append(row)
    return written, rows
