"""The plan of a study in the terminal: its rows with their status and time, or the ranges of its search."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcl.console import format_duration, make_console, plain_table, pluralize, print_table
from mcl.reports.search_report import find_trials
from mcl.studies.plan import PlannedRow
from mcl.studies.study import Study
from mcl.studies.study_page import Search

if TYPE_CHECKING:
    from rich.console import Console


def print_plan(study: Study, rows: Sequence[PlannedRow], at_once: int | None) -> None:
    """Print one line for each row, and the time that all may take.

    Args:
        study: the study of the rows.
        rows: rows of the study and of its teachers.
        at_once: number of runs at a time; None if a cluster decides.
    """
    console = make_console()
    console.print(f"{study.title}\n", style="bold")
    table = plain_table(*study.factors)
    table.add_column("seeds")
    table.add_column("standing")
    timed = any(row.how for row in rows)
    if timed:
        table.add_column("one run", justify="right", no_wrap=True)
        table.add_column("the rest", justify="right", no_wrap=True)
    for row in rows:
        labels = list(row.labels.values())
        if row.labels.keys() != study.factors.keys():
            labels = [f"teacher {labels[0]}", *[""] * (len(study.factors) - 1)]
        seeds = ", ".join(str(run.seed) for run in row.planned)
        times = ["-" if value is None else format_duration(value) for value in (row.seconds, row.seconds_left)]
        table.add_row(*labels, seeds, row.standing(), *(times if timed else []))
    print_table(console, table)
    runs, unfinished = sum(len(row.planned) for row in rows), sum(len(row.unfinished) for row in rows)
    console.print(f"\n{pluralize(runs, 'run')}, {unfinished} of them unfinished", soft_wrap=True)
    if timed:
        _print_time(console, rows, at_once)
    console.print()


def _print_time(console: "Console", rows: Sequence[PlannedRow], at_once: int | None) -> None:
    known = [row.seconds_left for row in rows if row.seconds_left is not None]
    if known:
        text = f"about {format_duration(sum(known))} one after another"
        if at_once and at_once > 1:
            together = max([sum(known) / at_once, *(row.longest_left for row in rows)])
            text += f", {format_duration(together)} with {at_once} at a time"
        if len(known) < len(rows):
            text += f", without {pluralize(len(rows) - len(known), 'row')} of unknown length"
        console.print(text, soft_wrap=True)
    for how in dict.fromkeys(row.how for row in rows):
        console.print(f"time of a run: {how}", style="dim", soft_wrap=True)


def print_search(study: Study, search: Search) -> None:
    """Print the ranges of a search, and how many of its trials have run."""
    console = make_console()
    trials = len(find_trials(study))
    console.print(f"{study.title}\n", style="bold")
    for option, where in search.options.items():
        console.print(f"{option}  {where}", soft_wrap=True)
    console.print(
        f"\n{pluralize(search.trials, 'trial')}, at most {search.at_once} at once, {trials} so far\n", soft_wrap=True
    )
