"""Confusion matrices among the files of an evaluation."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs.layout import CONFUSION, EVALUATION
from mcl.untrusted.limits import MAX_CSV
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.spreadsheet import without_formulas


def write_confusion(folder: Path, head: str, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Path:
    """Write a matrix as ``confusion-first-backbone.csv``: a row for each true class, a column for each predicted one.

    Args:
        folder: folder of the evaluation.
        head: whose predictions these are, such as ``first/backbone``.
        counts: (classes, classes), [label, prediction].
        classes: their names.

    Raises:
        UserError: The file cannot be written.
    """
    text = io.StringIO()
    rows: list[list[Any]] = [["true / predicted", *classes]]
    rows += [[label, *row] for label, row in zip(classes, counts, strict=True)]
    csv.writer(text, lineterminator="\n").writerows(map(without_formulas, rows))
    file = folder / f"{CONFUSION}{head.replace('/', '-')}.csv"
    write_atomically(file, text.getvalue())
    return file


def find_confusions(run: Path) -> list[Path]:
    """Return the files with confusion matrices in a run folder, of all its evaluations."""
    return sorted(run.glob(f"{EVALUATION}/*/{CONFUSION}*.csv"))


def read_confusion(file: Path) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Return the classes and the counts, (classes, classes), [label, prediction].

    Raises:
        UserError: The file cannot be read or is not a square matrix of counts.
    """
    try:
        lines = io.StringIO(read_bytes(file, MAX_CSV).decode(), newline="")
        (_, *classes), *body = csv.reader(lines)
        counts = tuple(tuple(int(count) for count in row[1:]) for row in body)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError("cannot be read") from error
    if not classes or [len(row) for row in counts] != [len(classes)] * len(classes) or min(map(min, counts)) < 0:
        raise UserError("is no confusion matrix")
    return tuple(classes), counts


def head_of(file: Path) -> str:
    """Return the head that a matrix belongs to, such as ``first backbone``."""
    return file.stem.removeprefix(CONFUSION).replace("-", " ")
