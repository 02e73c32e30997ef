"""``metrics.jsonl``: one JSON object per line, cut back to the checkpoint when a run is resumed."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mcl.console import pluralize
from mcl.files import write_atomically
from mcl.runs.layout import METRICS
from mcl.untrusted.limits import MAX_LINE, MAX_METRICS
from mcl.untrusted.regular_files import open_file, read_bytes
from mcl.untrusted.text import decode_json

LARGEST = 2**53  # larger whole numbers do not fit a float

logger = logging.getLogger(__name__)


class MetricsLine(NamedTuple):
    """A line of ``metrics.jsonl``.

    Args:
        step: optimizer steps done.
        epoch: counted from 1.
        time: seconds since the run began, earlier attempts included.
        values: the whole object, these three included; null where a number was not finite.
    """

    step: int
    epoch: int
    time: float
    values: dict[str, Any]

    def has(self, *families: str) -> bool:
        """Return whether a metric's name begins with one of ``families``, such as ``"test/"``."""
        return any(name.startswith(families) for name in self.values)


def parse_line(line: bytes) -> MetricsLine | None:
    """Return a line's content; None for a line that is torn or damaged."""
    try:
        values = decode_json(line, METRICS, MAX_LINE)
        step, epoch, time = values["step"], values["epoch"], values["time"]
    except (ValueError, KeyError, TypeError):
        return None
    counts = all(type(count) is int and 0 <= count < LARGEST for count in (step, epoch))
    valid = counts and type(time) in (int, float) and math.isfinite(time)
    return MetricsLine(step, epoch, time, values) if valid else None


def read_metrics(folder: Path, *families: str) -> Iterator[tuple[int, MetricsLine | None]]:
    """Yield the number (from 1) and content of each line; the content of a damaged line is None.

    Args:
        folder: folder of the run.
        families: beginnings of metric names; intact lines with none of them are skipped, which saves parsing them.
    """
    marks = [f'"{family}'.encode() for family in families]
    with open_file(folder / METRICS, MAX_METRICS) as file:
        for number, line in enumerate(_lines(file), 1):
            intact = line.startswith(b'{"step"') and line.endswith(b"}\n")
            if marks and intact and not any(mark in line for mark in marks):
                continue
            yield number, parse_line(line)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, the first `MAX_LINE` bytes of a longer one."""
    while line := file.readline(MAX_LINE):
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE)):
            pass
        yield line


def cut(folder: Path, step: int, evaluation_is_due: bool) -> float:
    """Remove the lines after ``step`` and all damaged lines; every line for step 0.

    Args:
        folder: folder of the run; the file need not exist.
        step: step of the checkpoint that the run resumes from.
        evaluation_is_due: whether the evaluation at this step will be repeated, so that its line goes, too.

    Returns:
        The ``time`` of the last line that stays, in seconds; 0 if none stays.
    """
    path = folder / METRICS
    if not path.exists():
        return 0.0
    content = read_bytes(path, MAX_METRICS)
    kept, torn, seconds = _lines_before(content, step, evaluation_is_due)
    if torn:
        logger.warning("Dropped %s of %s.", pluralize(torn, "torn line"), path)
    if (remaining := b"".join(kept)) != content:
        write_atomically(path, remaining)
    return seconds


def count_kept_lines(folder: Path, step: int, evaluation_is_due: bool) -> int:
    """Return how many lines `cut` leaves."""
    path = folder / METRICS
    return len(_lines_before(read_bytes(path, MAX_METRICS), step, evaluation_is_due)[0]) if path.exists() else 0


def _lines_before(content: bytes, step: int, evaluation_is_due: bool) -> tuple[list[bytes], int, float]:
    """Return the lines up to ``step``, the number of torn ones, and the ``time`` of the last."""
    kept, torn, seconds = [], 0, 0.0
    for line in content.splitlines(keepends=True) if step else []:
        row = parse_line(line)
        if row is None:
            torn += 1
        elif row.step < step or (row.step == step and not (evaluation_is_due and row.has("test/", "validation/"))):
            kept.append(line if line.endswith(b"\n") else line + b"\n")
            seconds = max(seconds, row.time)
    return kept, torn, seconds
