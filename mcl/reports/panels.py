"""Panels of pictures: rows that are compared with one another, their titles, and the style of each row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcl.palette import METHODS, Style, assign_styles
from mcl.reports.row_labels import place_labels
from mcl.reports.rows import Row, Rows
from mcl.runs.reading import Run


@dataclass(frozen=True)
class Panel:
    """One network of some rows that are compared with one another.

    Args:
        title: what the rows share.
        network: its name.
        rows: those that have it.
    """

    title: str
    network: str
    rows: list[Row]

    def caption(self, rows: Sequence[Row], *, at_end: bool) -> str:
        """Return network, data and number of runs of the rows drawn, with the epoch if all numbers are of the end."""
        about = [f"{self.network} on {dataset_name(rows)}"]
        if at_end and (epochs := last_epoch(rows)):
            about.append(f"epoch {epochs}")
        return f"{', '.join(about)}, n = {run_counts(rows)}"


def panels_of(rows: Rows, metric: str) -> list[Panel]:
    """Return a panel for each network name of each group of rows that are compared with one another."""
    panels = []
    for shared, group in rows.groups().items():
        values = [(row, row.values(metric)) for row in group]
        networks = dict.fromkeys(network for _, by_network in values for network in by_network)
        for network in networks:
            title = network if shared in ("", network) else f"{shared}: {network}" if len(networks) > 1 else shared
            panels.append(Panel(title, network, [row for row, by_network in values if network in by_network]))
    return panels


def row_key(rows: Rows, row: Row) -> str:
    """Return the name that distinguishes a row within its panel."""
    return rows.name(row, rows.compared) or rows.name(row)


def other_key(rows: Rows, row: Row, other: Row) -> str:
    """Return the name of a row that another one is compared with, also one of another panel."""
    apart = {factor for factor in rows.factors if row.labels.get(factor) != other.labels.get(factor)}
    return rows.name(other, rows.compared | apart) or rows.name(other)


def row_styles(rows: Rows) -> dict[str, Style]:
    """Return the style of each row key. A method looks the same in all reports."""
    methods: dict[str, set[str]] = {}
    for row in rows.rows:
        methods.setdefault(row_key(rows, row), set()).add(method_name(row))
    return assign_styles({key: min(names) if len(names) == 1 else key for key, names in methods.items()})


def method_name(row: Row) -> str:
    """Return the method of a row: the label that is a method's name, else the loss of its runs, else its label."""
    known = (label for label in row.labels.values() if label in METHODS)
    stored = (place_labels(run)["loss"] for run in row.runs if run.config)
    return next(filter(None, [*known, *stored, row.labels.get("loss", "")]), "")


def dataset_name(rows: Iterable[Row]) -> str:
    """Return the dataset of some rows, or several."""
    names = dict.fromkeys(place_labels(run)["dataset"] for row in rows for run in row.finished if run.config)
    return ", ".join(names) or "unknown data"


def last_epoch(rows: Iterable[Row]) -> str:
    """Return the epoch at which the runs of some rows ended, as `last_epoch_of` does."""
    return last_epoch_of(run for row in rows for run in row.finished)


def last_epoch_of(runs: Iterable[Run]) -> str:
    """Return the epoch at which some runs ended, ``"20"`` or ``"20 to 40"``; empty if unknown."""
    epochs = {run.summary.get("epochs") for run in runs}
    return _range(sorted(epoch for epoch in epochs if isinstance(epoch, int)))


def run_counts(rows: Iterable[Row]) -> str:
    """Return how many finished runs each of some rows has, such as ``"3 runs"``."""
    return counts(len(row.finished) for row in rows)


def counts(numbers: Iterable[int], noun: str = "run") -> str:
    """Return the range of some numbers: ``"1 run"``, ``"3 to 5 pairs"``."""
    different = sorted(set(numbers))
    return f"{_range(different)} {noun}{'s' * (different != [1])}"


def _range(values: Sequence[int]) -> str:
    return " to ".join(map(str, dict.fromkeys([values[0], values[-1]]))) if values else ""
