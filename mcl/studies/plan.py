"""The plan of a study: its runs, their status, the time that the rest may take."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from mcl.runs.reading import Run, mapping, number, read_run
from mcl.studies.study import PlannedRun, Study


@dataclass(frozen=True)
class PlannedRow:
    """The runs of a study that differ in their seed alone.

    Args:
        labels: factor -> label.
        planned: one for each seed.
        found: what their folders hold, in the same order.
        seconds: of one run from beginning to end; None where nothing says how long.
        how: where ``seconds`` comes from.
    """

    labels: dict[str, str]
    planned: list[PlannedRun]
    found: list[Run]
    seconds: float | None = None
    how: str = ""

    @property
    def seconds_left(self) -> float | None:
        """Of all its runs that are not finished, one after another."""
        shares = sum(1 - _done(run) for run in self.found)
        return 0.0 if not shares else None if self.seconds is None else shares * self.seconds

    def standing(self) -> str:
        """``"2 finished, 1 at epoch 7 of 20"``."""
        words: dict[str, int] = {}
        for run in self.found:
            word = {"missing": "to do"}.get(run.status, run.status)
            if run.evaluations and not run.finished:
                word += f" at epoch {run.evaluations[-1].epoch} of {run.config['trainer']['epochs']}"
            words[word] = words.get(word, 0) + 1
        return ", ".join(f"{count} {word}" for word, count in words.items())


def plan_rows(study: Study, runs: Sequence[PlannedRun] | None = None, *, estimate: bool) -> list[PlannedRow]:
    """The rows of a study in the order of its page.

    Args:
        study: with its runs.
        runs: those of them that matter; None for all.
        estimate: say how long a run takes: what finished runs of the row took, or else by multiply-adds, at the speed
            of the other finished runs or, where there are none, of this machine. This builds networks.
    """
    planned: dict[tuple[str, ...], list[PlannedRun]] = {}
    for run in study.runs if runs is None else runs:
        planned.setdefault(tuple(run.labels.values()), []).append(run)
    rows = [
        PlannedRow(row[0].labels, row, [read_run(run.folder) for run in row])
        for row in sorted(planned.values(), key=lambda row: _position(study, row[0].labels))
    ]
    return _with_seconds(rows, [read_run(run.folder) for run in study.runs]) if estimate else rows


def _position(study: Study, labels: dict[str, str]) -> list[int]:
    return [study.factors[factor].index(label) for factor, label in labels.items()]


def _done(run: Run) -> float:
    """The share of a run that need not be done again."""
    if run.finished:
        return 1.0
    epochs = (run.config.get("trainer") or {}).get("epochs")
    return run.evaluations[-1].epoch / epochs if run.evaluations and epochs else 0.0


def _with_seconds(rows: Sequence[PlannedRow], everything: Sequence[Run]) -> list[PlannedRow]:
    finished = [run.summary for run in everything if run.finished]
    counted = [
        (total, seconds)
        for summary in finished
        if (total := number(mapping(summary.get("multiply_adds")).get("total")))
        and (seconds := number(summary.get("seconds")))
    ]
    rate = sum(total for total, _ in counted) / sum(seconds for _, seconds in counted) if counted else None
    how = "by multiply-adds, as fast as the finished runs"
    estimated = []
    for row in rows:
        own = [seconds for run in row.found if (seconds := number(run.summary.get("seconds"))) is not None]
        if own:
            estimated.append(PlannedRow(row.labels, row.planned, row.found, mean(own), "as its finished runs"))
            continue
        from mcl.studies.estimate import total_and_rate

        total, measured, problem = total_and_rate(row.planned[0].overrides, measure=rate is None)
        if rate is None and measured is not None:
            rate, how = measured, "by multiply-adds, at the speed of a few steps measured now"
        seconds = None if total is None or rate is None else total / rate
        estimated.append(PlannedRow(row.labels, row.planned, row.found, seconds, problem or how))
    return estimated
