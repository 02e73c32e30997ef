"""Read the confusion matrices that training and ``python -m mcl evaluate`` wrote."""

from dataclasses import dataclass
from pathlib import Path

from mcl.console import display_path
from mcl.errors import UserError
from mcl.runs.confusion_file import find_confusions, head_of, read_confusion
from mcl.runs.evaluation_record import read_record
from mcl.runs.layout import RECORD
from mcl.runs.reading import Run

MOST_CLASSES = 200  # more are too small for a screen
MOST_CELLS = 1_000_000  # limit for all matrices of a page together


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix.

    Args:
        run: the run evaluated.
        head: name of the head, such as ``first backbone``; with a description of the evaluation unless it is of the
            test split after the last step.
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
        for file in find_confusions(run.folder):
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
        classes, counts = read_confusion(file)
    except UserError as error:
        return str(error)
    if len(classes) > MOST_CLASSES:
        return f"{len(classes)} classes are too many for an image"
    try:
        evaluated = _evaluated(run, file.parent)
    except UserError:
        return f"{RECORD} beside it cannot be read"
    head = head_of(file)
    return Matrix(run, f"{head}, {evaluated}" if evaluated else head, classes, counts)


def _evaluated(run: Run, folder: Path) -> str:
    """Describe what was evaluated; empty for the test split of the run after its last step."""
    record = read_record(folder)
    steps = run.summary.get("steps")
    deviations = record.deviations(steps if isinstance(steps, int) else None) if record else []
    if folder.name == "test" and not deviations:
        return ""
    return f"{folder.name} ({'; '.join(deviations)})" if deviations else folder.name
