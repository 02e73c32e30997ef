"""Read the confusion matrices that training and ``python -m mcl evaluate`` wrote."""

import csv
from dataclasses import dataclass
from pathlib import Path

from mcl.console import display_path
from mcl.errors import UserError
from mcl.runs.evaluation_record import RECORD, read_record
from mcl.runs.reading import Run
from mcl.tracking.confusion import PREFIX

MOST_CLASSES = 200  # more are too small for a screen
MOST_CELLS = 1_000_000  # of all matrices of a page


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix.

    Args:
        run: the run evaluated.
        head: such as ``first backbone``; names the evaluation, too, unless it is of the test part after the last step.
        classes: their names.
        counts: indexed by true class, then by predicted class.
    """

    run: Run
    head: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def find_matrices(runs: list[Run]) -> tuple[list[Matrix], list[str]]:
    """Return the matrices of some runs, and a sentence on each that cannot be shown."""
    matrices: list[Matrix] = []
    notes: list[str] = []
    cells = left_out = 0
    for run in runs:
        for file in sorted(run.folder.glob(f"evaluation/*/{PREFIX}*.csv")):
            matrix = _read(run, file)
            if isinstance(matrix, str):
                notes.append(f"{display_path(file)}: {matrix}.")
            elif (cells := cells + len(matrix.classes) ** 2) > MOST_CELLS:
                left_out += 1
            else:
                matrices.append(matrix)
    if left_out:
        notes.append(f"{left_out} more would make this page too large; they lie in the evaluation folders of the runs.")
    return matrices, notes


def _read(run: Run, file: Path) -> Matrix | str:
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            (_, *classes), *body = csv.reader(lines)
        counts = tuple(tuple(int(count) for count in row[1:]) for row in body)
    except (OSError, ValueError, csv.Error):
        return "cannot be read"
    if len(classes) > MOST_CLASSES:
        return f"{len(classes)} classes are too many for a picture"
    if not classes or [len(row) for row in counts] != [len(classes)] * len(classes) or min(map(min, counts)) < 0:
        return "is no confusion matrix"
    try:
        evaluated = _evaluated(run, file.parent)
    except UserError:
        return f"{RECORD} beside it cannot be read"
    head = file.stem.removeprefix(PREFIX).replace("-", " ")
    return Matrix(run, f"{head}, {evaluated}" if evaluated else head, tuple(classes), counts)


def _evaluated(run: Run, folder: Path) -> str:
    """Describe what was evaluated; empty for the test part of the run after its last step."""
    record = read_record(folder)
    steps = run.summary.get("steps")
    deviations = record.deviations(steps if isinstance(steps, int) else None) if record else []
    if folder.name == "test" and not deviations:
        return ""
    return f"{folder.name} ({'; '.join(deviations)})" if deviations else folder.name
