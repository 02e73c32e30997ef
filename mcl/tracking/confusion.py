"""Confusion matrices and their files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcl.files import write_atomically
from mcl.runs.evaluation_record import PREFIX

if TYPE_CHECKING:
    from torch import Tensor


def confusion_of(labels: "Tensor", predicted: "Tensor", classes: int) -> "Tensor":
    """(classes, classes) counts, [label, prediction], of labels and predictions (N,)."""
    return (labels * classes + predicted).bincount(minlength=classes**2).reshape(classes, classes)


def write_confusion(folder: Path, head: str, confusion: "Tensor", classes: Sequence[str]) -> Path:
    """Write a matrix as ``confusion-first-backbone.csv``: a line for each true class, a column for each predicted one.

    Args:
        folder: for the file.
        head: whose, such as ``first/backbone``.
        confusion: (classes, classes) counts, [label, prediction].
        classes: their names.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    lines = [[label, *row] for label, row in zip(classes, confusion.tolist(), strict=True)]
    csv.writer(text, lineterminator="\n").writerows([["true / predicted", *classes], *lines])
    file = folder / f"{PREFIX}{head.replace('/', '-')}.csv"
    write_atomically(file, text.getvalue())
    return file
