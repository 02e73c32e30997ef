"""The plan of a study: its runs, their status, an estimate of the remaining time."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from mcl.runs.reading import Run, mapping, number, read_run
from mcl.studies.planned_run import PlannedRun
from mcl.studies.study import Study


@dataclass(frozen=True)
class PlannedRow:
    """The runs of a study that differ in their seed alone.

    Args:
        labels: factor -> label.
        planned: one run for each seed.
        found: the runs in their folders, in the same order.
        seconds: duration of one whole run; None if unknown.
        how: origin of ``seconds``.
    """

    labels: dict[str, str]
    planned: list[PlannedRun]
    found: list[Run]
    seconds: float | None = None
    how: str = ""

    @property
    def unfinished(self) -> list[PlannedRun]:
        """The runs that are not finished, or not begun."""
        return [planned for planned, run in zip(self.planned, self.found, strict=True) if not run.finished]

    @property
    def seconds_left(self) -> float | None:
        """Duration of the unfinished runs, one after another."""
        runs_left = sum(1 - _share_done(run) for run in self.found)
        if not runs_left:
            return 0.0
        return None if self.seconds is None else runs_left * self.seconds

    @property
    def longest_left(self) -> float:
        """Duration of the run that has most left; 0 if unknown."""
        return max(1 - _share_done(run) for run in self.found) * (self.seconds or 0.0)

    def standing(self) -> str:
        """Return the status of the runs, such as ``"2 finished, 1 at epoch 7 of 20"``."""
        counts: Counter[str] = Counter()
        for run in self.found:
            status: str = "to do" if run.status == "missing" else run.status
            if run.evaluated_epoch and not run.finished:
                status += f" at epoch {run.evaluated_epoch} of {_trainer(run).get('epochs')}"
            counts[status] += 1
        return ", ".join(f"{count} {status}" for status, count in counts.items())


def read_planned(planned: Sequence[PlannedRun], archived: Iterable[Run] = ()) -> list[Run]:
    """Read the runs in planned folders. For one that has no folder, its archived run is taken, if there is one."""
    by_hash = {run.folder.name: run for run in archived}
    stored = [None if each.folder.is_dir() else by_hash.get(each.folder.name) for each in planned]
    return [run or read_run(each.folder) for each, run in zip(planned, stored, strict=True)]


def plan_rows(
    study: Study, runs: Sequence[PlannedRun] | None = None, *, archived: Sequence[Run] = (), estimate: bool
) -> list[PlannedRow]:
    """Return the rows of a study, in the order of their first runs: that of its page.

    Args:
        study: study with its runs.
        runs: the runs to include; None for all.
        archived: runs that stand for planned ones without a folder.
        estimate: estimate the duration of a run: the mean of the finished runs of the row, or else from multiply-adds
            at the speed of the other finished runs or, without any, of this machine. This builds networks.
    """
    chosen = study.runs if runs is None else runs
    each_once = {run.folder: run for run in [*chosen, *(study.runs if estimate else [])]}
    found = dict(zip(each_once, read_planned(list(each_once.values()), archived), strict=True))
    planned: dict[tuple[str, ...], list[PlannedRun]] = {}
    for run in chosen:
        planned.setdefault(tuple(run.labels.values()), []).append(run)
    rows = [PlannedRow(row[0].labels, row, [found[run.folder] for run in row]) for row in planned.values()]
    return _with_seconds(rows, found.values()) if estimate else rows


def _share_done(run: Run) -> float:
    """Return the share of a run that is done, from 0 to 1."""
    if run.finished:
        return 1.0
    counts = {"epochs": run.evaluated_epoch, "max_steps": run.evaluated_step}  # training ends at the first
    ends = {name: number(_trainer(run).get(name)) for name in counts}
    return min(1.0, max((done / end for name, done in counts.items() if done and (end := ends[name])), default=0.0))


def _trainer(run: Run) -> Mapping[str, Any]:
    return mapping(run.config.get("trainer"))


def _with_seconds(rows: Sequence[PlannedRow], runs: Iterable[Run]) -> list[PlannedRow]:
    """Return the rows with estimates, from those of ``runs`` that are finished."""
    counted = [
        (total, seconds)
        for run in runs
        if run.finished
        and (total := number(mapping(run.summary.get("multiply_adds")).get("total")))
        and (seconds := number(run.summary.get("seconds")))
    ]
    rate = sum(total for total, _ in counted) / sum(seconds for _, seconds in counted) if counted else None
    how = "by multiply-adds, as fast as the finished runs"
    estimated = []
    for row in rows:
        own = [seconds for run in row.found if (seconds := number(run.summary.get("seconds"))) is not None]
        if own:
            estimated.append(replace(row, seconds=mean(own), how="as its finished runs, wherever they ran"))
            continue
        from mcl.studies.estimate import total_and_rate

        first = row.planned[0]
        total, measured, problem = total_and_rate([*first.overrides, *first.stand_ins], measure=rate is None)
        if rate is None and measured is not None:
            rate, how = measured, "by multiply-adds, at the speed of a few steps measured now"
        seconds = None if total is None or rate is None else total / rate
        estimated.append(replace(row, seconds=seconds, how=problem or how))
    return estimated
