"""Estimate from its metrics how far a run is from its end."""

import os
import time
from pathlib import Path
from typing import NamedTuple

from mcl.runs.layout import METRICS
from mcl.runs.metrics_file import MetricsLine, parse_line

TAIL = 2**16  # bytes, more than a line has


class Progress(NamedTuple):
    """The fraction that is done, from 0 to 1, and the seconds that the rest will take; None if unknown."""

    done: float
    left: float | None


def read_progress(folder: Path, epochs: int | None, max_steps: int | None, since: float = 0.0) -> Progress | None:
    """Return the progress of a run; None while it is unknown.

    An evaluation ends an epoch, so its line gives the number of steps per epoch. Before the first evaluation, whole
    epochs are counted.

    Args:
        folder: folder of the run.
        epochs: number of epochs of the run.
        max_steps: number of steps after which the run stops, whatever the epoch.
        since: seconds since 1970; metrics last written before belong to an earlier attempt.
    """
    written, lines = _last_lines(folder / METRICS)
    if not lines or written < since:
        return None
    last = lines[-1]
    evaluations = [line for line in lines if line.has("test/", "validation/")]
    totals = [float(max_steps)] if max_steps else []
    if epochs and evaluations and evaluations[-1].epoch and evaluations[-1].step:
        totals.append(evaluations[-1].step / evaluations[-1].epoch * epochs)
    if totals:
        done = min(1.0, last.step / min(totals))
    elif epochs:
        done = min(1.0, max(0, last.epoch - 1) / epochs)
    else:
        return None
    return Progress(done, max(0.0, last.time / done * (1.0 - done) - (time.time() - written)) if done else None)


def last_evaluated_step(folder: Path) -> int:
    """Return the step of the last evaluation that a run has logged; 0 before the first."""
    _, lines = _last_lines(folder / METRICS)
    return max((line.step for line in lines if line.has("test/", "validation/")), default=0)


def _last_lines(metrics: Path) -> tuple[float, list[MetricsLine]]:
    """Return when the file was written, in seconds since 1970, and its last intact lines."""
    try:
        with open(metrics, "rb") as file:
            written = os.fstat(file.fileno()).st_mtime
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = map(parse_line, file.read().splitlines())
            return written, [line for line in lines if line is not None]
    except OSError:
        return 0.0, []
