"""``metrics.jsonl``: one JSON object per line, cut back to the checkpoint when a run is resumed."""

import json
import logging
from pathlib import Path

from mcl.files import write_atomically

logger = logging.getLogger(__name__)


METRICS = "metrics.jsonl"


def cut(path: Path, step: int, evaluation_is_due: bool) -> float:
    """Leave only the lines of ``metrics.jsonl`` up to ``step``, none for step 0. Torn lines go, wherever they are.

    Args:
        path: the file, which need not exist.
        step: of the checkpoint that the run goes on from.
        evaluation_is_due: the evaluation at this step is to be done again, and its line goes.

    Returns:
        The ``time`` of the last line that stays, in seconds; 0 if none stays.
    """
    if not path.exists():
        return 0.0
    content = path.read_bytes()
    kept, torn, seconds = _lines(content, step, evaluation_is_due)
    if torn:
        logger.warning("Dropped %d torn line%s of %s.", torn, "s" * (torn > 1), path)
    if (whole := b"".join(kept)) != content:
        write_atomically(path, whole)
    return seconds


def kept_lines(path: Path, step: int, evaluation_is_due: bool) -> int:
    """How many lines `cut` leaves."""
    return len(_lines(path.read_bytes(), step, evaluation_is_due)[0]) if path.exists() else 0


def _lines(content: bytes, step: int, evaluation_is_due: bool) -> tuple[list[bytes], int, float]:
    """The lines up to ``step``, how many others are torn, and the ``time`` of the last."""
    kept, torn, seconds = [], 0, 0.0
    for line in content.splitlines(keepends=True) if step else []:
        try:
            row = json.loads(line)
            row_step, row_time = row["step"], row["time"]
        except (ValueError, KeyError, TypeError):
            torn += 1
            continue
        of_evaluation = any(key.startswith("test/") for key in row)
        if row_step < step or (row_step == step and not (evaluation_is_due and of_evaluation)):
            kept.append(line if line.endswith(b"\n") else line + b"\n")
            seconds = max(seconds, row_time)
    return kept, torn, seconds
