"""Choose one run of each row, whose networks are given away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mcl.errors import UserError
from mcl.reports.row_labels import place_labels
from mcl.reports.rows import ENSEMBLE, Row, Rows, run_values
from mcl.reports.statistics import Estimate, mean_of_known
from mcl.runs.reading import Run
from mcl.runs.received import file_name

Choice = Literal["validation", "test", "first"]
_METRICS = {"validation": "validation_top1_last", "test": "top1_last"}
_REMEDIES = {
    "validation": ", so nothing says which seed is best; test images must not choose. Hold some training images out"
    " with dataset.validation=FRACTION, or take the first seed with --choose first. With --choose test, the card states"
    " that its accuracy is too high.",
    "test": ". Take the first seed with --choose first.",
}


@dataclass(frozen=True)
class ChosenRun:
    """The run that stands for a row.

    Args:
        name: name of the row as a part of a path: the labels that distinguish it, then the pair.
        run: the run.
        seeds: number of finished runs in the row.
        score: the accuracy that it was chosen by, in percent; None if nothing was compared.
        accuracy: top-1 over all finished runs of the row, by the name of the network; last that of the ensemble.
    """

    name: str
    run: Run
    seeds: int
    score: float | None
    accuracy: dict[str, Estimate]


def choose_runs(rows: Rows, by: Choice, only: Mapping[str, str] | None = None) -> list[ChosenRun]:
    """Return the chosen run of every row that has a finished one.

    Args:
        rows: rows of a study or of a folder of runs.
        by: ``validation`` or ``test`` for the highest accuracy on that split, the mean of a run's networks; ``first``
            for the lowest seed.
        only: the labels that a row must have, by factor; None for every row.

    Raises:
        UserError: There is no such row, none has a finished run, two have the same name, or no validation split was
            held out to choose by.
    """
    wanted = [row for row in rows.rows if all(row.labels.get(key) == label for key, label in (only or {}).items())]
    if only and not wanted:
        asked = ", ".join(f"{factor}={label}" for factor, label in only.items())
        raise UserError(f"{asked}: no row has this label. Rows: {'; '.join(map(rows.name, rows.rows)) or 'none'}.")
    chosen = [_choose(rows, row, by) for row in wanted if row.finished]
    if not chosen:
        raise UserError("There is no finished run in these rows. Train them first.")
    names = [each.name for each in chosen]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"Two rows would have the same name: {', '.join(sorted(repeated))}. Choose one with --only.")
    return chosen


def _choose(rows: Rows, row: Row, by: Choice) -> ChosenRun:
    name = _name(rows, row)
    run, score = row.finished[0], None
    if by != "first":
        scores = [_score(each, _METRICS[by]) for each in row.finished]
        if None in scores:
            raise UserError(f"{name}: a run has no accuracy on {by} images{_REMEDIES[by]}")
        score, run = max(zip(_known(scores), row.finished, strict=True), key=lambda pair: pair[0])  # first of equals
    accuracy = {**row.estimates("top1_last"), **row.estimates(ENSEMBLE)}
    return ChosenRun(name, run, len(row.finished), score, accuracy)


def _score(run: Run, metric: str) -> float | None:
    values = list(run_values(run.summary, metric).values())
    return None if None in values else mean_of_known(values)


def _known(scores: Sequence[float | None]) -> list[float]:
    return [score for score in scores if score is not None]


def _name(rows: Rows, row: Row) -> str:
    """Return the labels of a row joined by ``-``, with its pair unless a label names it: ``lmcl-resnet14``."""
    labels = rows.name(row).split(", ")
    pair = place_labels(row.finished[0])["pair"]
    return "-".join(map(file_name, [*labels, *([pair] if pair not in labels else [])]))
