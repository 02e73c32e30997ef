"""Read results back: the runs of a folder, of a study or of an archive as a table, by the reader of the reports."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from mcl.console import display_path
from mcl.errors import UserError
from mcl.reports.archive import needs_archive
from mcl.reports.csv_file import lines_of, run_lines
from mcl.reports.rows import Rows, rows_of_folders, rows_of_study
from mcl.reports.run_table import NetworkResult, RunResult, RunTable
from mcl.reports.search_report import find_trials
from mcl.runs.archived import ARCHIVE, unpack_runs
from mcl.runs.identity import flatten
from mcl.runs.reading import Run, find_runs, mapping, number
from mcl.studies.study import load_study
from mcl.studies.study_page import FILE


def read_runs(place: str | os.PathLike[str], *, runs: str | os.PathLike[str] | None = None) -> RunTable:
    """Return the runs of a place as a report of it counts them.

    Examples:
        >>> for run in read_runs("runs/digits").finished:  # doctest: +SKIP
        ...     print(run.labels["loss"], run.seed, run.top1_last, run.curves["train/total"].values[-1])

    Args:
        place: folder of runs, folder of a study, or an archive of runs (``runs.tar.xz``). Of a study, all planned runs
            are returned; those without a folder from the archive beside ``study.yaml``, if it has them.
        runs: folder of a study's runs, if not the one that the study names. The archive is not read then.

    Raises:
        UserError: There are no runs, or a study or an archive cannot be read.
    """
    place, files = Path(place), None
    if (place / FILE).is_file():
        study = load_study(place, [f"runs={os.fspath(runs)}"] if runs else [])
        archived: list[Run] = []
        if runs is None and (place / ARCHIVE).is_file() and needs_archive(study):
            files = _TemporaryFolder()
            archived = unpack_runs(place / ARCHIVE, files.path)
        if study.search is None:
            return _table(rows_of_study(study, archived=archived), files)
        trials = [(run, {name: str(value) for name, value in own.items()}) for run, own in find_trials(study, archived)]
        return RunTable(_result(run, labels, run_lines(run, labels), files) for run, labels in trials)
    if runs is not None:
        raise UserError(f"runs={runs}: only a study's folder has its runs elsewhere; {place} is not one.")
    if not place.is_file():
        found = find_runs(place)
    else:
        files = _TemporaryFolder()
        found = [run.folder for run in unpack_runs(place, files.path)]
    if not found:
        raise UserError(f"{place} holds no run. Give a folder of runs, a study's folder, or an archive of runs.")
    rows = rows_of_folders(found)
    if files is not None:
        for run in [*rows.runs, *rows.unplaced]:
            run.shown_folder = place.parent / run.folder.relative_to(files.path)
    return _table(rows, files)


class _TemporaryFolder:
    """A folder that is removed with this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="mcl-runs-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _table(rows: Rows, files: object) -> RunTable:
    left_out = [f"{display_path(run.shown_folder)}: {run.reason or '; '.join(run.notes)}" for run in rows.unplaced]
    labels = {id(run): row.labels for row in rows.rows for run in row.runs}
    runs = (_result(run, labels[id(run)], lines, files) for run, lines in lines_of(rows))
    return RunTable(runs, rows.notes + left_out)


def _result(run: Run, labels: dict[str, str], lines: list[dict[str, Any]], files: object) -> RunResult:
    summary = run.summary if run.finished else {}
    return RunResult(
        labels=dict(labels),
        seed=run.seed,
        status=run.status,
        reason=run.reason,
        folder=run.shown_folder,
        settings=flatten(run.config) if run.config else {},
        networks=tuple(_network(values) for values in summary.get("networks", [])),
        ensemble_top1_last=number(mapping(summary.get("ensemble")).get("top1_last")),
        summary=summary,
        notes=tuple(run.notes),
        _run=run,
        _lines=lines,
        _files=files,
    )


def _network(summary: dict[str, Any]) -> NetworkResult:
    values = {name: value for name, logged in summary.items() if (value := number(logged)) is not None}
    return NetworkResult(
        key=str(summary.get("key", "")),
        name=str(summary["name"]),
        top1_last=values.get("top1_last"),
        top5_last=values.get("top5_last"),
        top1_best=values.get("top1_best"),
        best_epoch=values.get("best_epoch"),
        validation_top1_last=values.get("validation_top1_last"),
        values=values,
    )
