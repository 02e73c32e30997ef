"""Group runs into the rows of a table: what differs, which baseline they have, which numbers each run gives."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcl.console import display_path
from mcl.errors import UserError, did_you_mean
from mcl.reports.image_sets import IMAGES, UNKNOWN, data_settings, differ, fingerprint, set_aside_other_images
from mcl.reports.row_labels import add_settings, place_labels, sort_labels
from mcl.runs.identity import identity
from mcl.runs.reading import Run, mapping, number, read_run
from mcl.studies.study import Study

METRICS = {  # what --metric chooses among -> what tables call it
    "top1_last": "backbone, last epoch",
    "top1_best": "backbone, best epoch",
    "top1_max_over_heads": "best head, best epoch",
    "ensemble": "ensemble, last epoch",
}
MAX_OVER_RUN = "top1_max_over_run"
ENSEMBLE = "ensemble"
INDEPENDENT = "independent"


@dataclass
class Row:
    """Runs that differ in nothing but their seed, and saw the same images as far as their summaries tell.

    Args:
        labels: factor -> label.
        runs: in order of their seeds, each seed once, whether or not they have finished.
    """

    labels: dict[str, str]
    runs: list[Run]

    @property
    def finished(self) -> list[Run]:
        """The runs whose results count."""
        return [run for run in self.runs if run.finished]

    def values(self, metric: str) -> dict[str, dict[int, float]]:
        """``{network name: {seed: percent}}`` of the finished runs; a number that is not finite is left out."""
        found: dict[str, dict[int, float]] = {}
        for run in self.finished:
            assert run.seed is not None
            for name, value in run_values(run.summary, metric).items():
                of_name = found.setdefault(name, {})
                if value is not None:
                    of_name[run.seed] = value
        return found


@dataclass
class Rows:
    """A table's rows in order.

    Args:
        factors: factor -> its labels, in order.
        rows: in that order.
        baseline: labels of the rows that others are compared with; empty for none.
        compared: the factors in which a row and its baseline may differ.
        notes: what was done to come to these rows, in sentences.
        astray: runs that no row can take, each with the reason.
    """

    factors: dict[str, list[str]]
    rows: list[Row]
    baseline: dict[str, str]
    compared: set[str]
    notes: list[str] = field(default_factory=list)
    astray: list[Run] = field(default_factory=list)

    @property
    def varying(self) -> list[str]:
        """The factors that tell rows apart; of a single row, its last factor."""
        several = [factor for factor in self.factors if len({row.labels.get(factor, "") for row in self.rows}) > 1]
        return several or list(self.factors)[-1:]

    @property
    def constant(self) -> dict[str, str]:
        """The label of each factor that is the same in all rows."""
        alike = [factor for factor in self.factors if factor not in self.varying]
        return {factor: self.rows[0].labels.get(factor, "") for factor in alike} if self.rows else {}

    @property
    def runs(self) -> list[Run]:
        """All runs of all rows."""
        return [run for row in self.rows for run in row.runs]

    def name(self, row: Row, factors: Iterable[str] | None = None) -> str:
        """``"resnet32, lmcl"``: the labels that tell a row apart."""
        chosen = self.varying if factors is None else [factor for factor in self.varying if factor in factors]
        return ", ".join(_named(factor, row.labels[factor]) for factor in chosen if row.labels.get(factor))

    def groups(self) -> dict[str, list[Row]]:
        """Rows that are compared with one another, by what they share; one group of no name if they share all."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(self.name(row, [f for f in self.factors if f not in self.compared]), []).append(row)
        return found

    def baselines_of(self, row: Row) -> list[Row]:
        """The rows with the baseline's labels and otherwise those of ``row``: one, unless labels leave it open."""
        others = [factor for factor in self.factors if factor not in self.compared]
        return [
            other
            for other in self.rows
            if self.baseline
            and all(other.labels.get(factor) == label for factor, label in self.baseline.items())
            and all(other.labels.get(factor) == row.labels.get(factor) for factor in others)
        ]


def run_values(summary: Mapping[str, Any], metric: str) -> dict[str, float | None]:
    """One number per network name, in percent; networks of one name are averaged, for the run is what counts.

    Args:
        summary: of a finished run.
        metric: a name of ``METRICS``, whose ``ensemble`` counts as a network; or ``top1_max_over_run``, which all
            networks share; or another number that a summary holds of each network.
    """
    if metric == ENSEMBLE:
        return {ENSEMBLE: number(mapping(summary.get("ensemble")).get("top1_last"))}
    by_name: dict[str, list[float | None]] = {}
    for network in summary["networks"]:
        value = summary.get(metric) if metric == MAX_OVER_RUN else network.get(metric)
        by_name.setdefault(network["name"], []).append(number(value))
    return {name: mean(values) for name, values in by_name.items()}


def mean(values: Sequence[float | None]) -> float | None:
    """Their mean; None if one is missing, or all are."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there and len(there) == len(values) else None


def rows_of_study(study: Study, baseline: Mapping[str, str] | None = None, archived: Iterable[Run] = ()) -> Rows:
    """Return the rows that a study plans, with what has become of their runs.

    A finished run that is not the one planned, or that saw other images than the others, does not count.

    Args:
        study: the plan.
        baseline: labels of the rows that others are compared with; None for those of the study.
        archived: runs that are taken in place of those in the planned folders.
    """
    by_hash = {run.folder.name: run for run in archived}
    rows: dict[tuple[str, ...], Row] = {}
    for planned in study.runs:
        run = by_hash.get(planned.folder.name) or read_run(planned.folder)
        run.seed = planned.seed
        run.command = f"python train.py {shlex.join(planned.overrides)}"
        _set_aside_other_settings(run)
        labels = tuple(planned.labels.get(factor, "") for factor in study.factors)
        rows.setdefault(labels, Row(dict(planned.labels), [])).runs.append(run)
    set_aside_other_images(run for row in rows.values() for run in row.runs)

    def place(labels: tuple[str, ...]) -> list[int]:
        of_factors = zip(labels, study.factors.values(), strict=True)
        return [known.index(label) if label in known else -1 for label, known in of_factors]

    chosen = dict(study.baseline if baseline is None else baseline)
    found = Rows(
        dict(study.factors),
        [_in_order(rows[labels]) for labels in sorted(rows, key=place)],
        chosen,
        set(chosen) or set(list(study.factors)[-1:]),
    )
    _check_baseline(found)
    return found


def rows_of_folders(folders: Iterable[Path], baseline: Mapping[str, str] | None = None) -> Rows:
    """Rows made of what is found: runs that differ in nothing but their seed are one, named by what tells it apart.

    Where runs of one dataset with the same settings saw different images, each fingerprint has rows of its own.
    """
    rows: dict[str, Row] = {}
    settings: dict[str, dict[str, Any]] = {}
    found_runs = list(map(read_run, folders))
    astray = [run for run in found_runs if not run.config or run.seed is None]
    readable = [run for run in found_runs if run.config and run.seed is not None]
    images = _images(readable)
    for run in readable:
        run.command = "the command that began it, typed again"
        own = {key: value for key, value in identity(run.config).items() if key != "seed"}
        labels = place_labels(run)
        key = json.dumps([labels, images[id(run)], own], sort_keys=True, default=str)
        row = rows.setdefault(key, Row(labels, []))
        settings[key] = own
        if (first := next((other for other in row.runs if other.seed == run.seed), None)) is not None:
            first, run = (run, first) if run.finished and not first.finished else (first, run)
            row.runs = [other for other in row.runs if other.seed != run.seed] + [first]
            run.notes.append(
                f"repeats the settings and the seed of {display_path(first.shown_folder)}, which counts in its place"
            )
            astray.append(run)
        else:
            row.runs.append(run)
    notes = ["Rows are runs that differ in nothing but their seed."]
    notes += add_settings([row.labels for row in rows.values()], list(settings.values()))
    if any(images.values()):
        for row in rows.values():
            row.labels[IMAGES] = images[id(row.runs[0])]
    has_independent = any(row.labels["loss"] == INDEPENDENT for row in rows.values())
    chosen = dict(baseline) if baseline is not None else {"loss": INDEPENDENT} if has_independent else {}
    if baseline is None and has_independent:
        notes.append("The baseline of a row is the one with `loss=independent` that is otherwise equal.")
    compared = set(chosen) or {"loss"}
    names = next((list(row.labels) for row in rows.values()), [])
    compared |= {factor for factor in names if "loss" in compared and factor.startswith("loss.")}
    labels_of = {factor: {row.labels[factor] for row in rows.values()} for factor in names}
    factors = {factor: sort_labels(labels, first=chosen.get(factor)) for factor, labels in labels_of.items()}
    found = Rows(
        factors,
        sorted(
            map(_in_order, rows.values()),
            key=lambda row: [factors[factor].index(row.labels[factor]) for factor in factors],
        ),
        chosen,
        compared,
        notes,
        astray,
    )
    _check_baseline(found)
    return found


def _images(runs: Sequence[Run]) -> dict[int, str]:
    """``{id(run): label}`` by the images it saw; empty labels where runs of one kind all saw the same ones."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((place_labels(run)["dataset"], data_settings(run)), []).append(run)
    return {
        id(run): (fingerprint(run) or UNKNOWN) if differ(map(fingerprint, group)) else ""
        for group in groups.values()
        for run in group
    }


def _set_aside_other_settings(run: Run) -> None:
    """Exclude a finished run whose summary is of another run than the hash in the name of its folder."""
    name, found = run.folder.name, run.summary.get("config_hash")
    if run.finished and isinstance(found, str) and found != name and re.fullmatch("[0-9a-f]{10}", name):
        run.status = "of other settings"
        run.reason = f"its summary.json is that of run {found}. With resume=never its command trains it anew"
        run.command = f"{run.command} resume=never"


def parse_baseline(text: str, factors: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """``"loss=mcl,pair=resnet8"``, or a label alone where one factor has it, as ``{factor: label}``."""
    chosen = {}
    for part in text.split(","):
        factor, equals, label = part.strip().partition("=")
        if not equals:
            owners = [name for name, labels in factors.items() if factor in labels]
            if len(owners) != 1:
                every = [label for labels in factors.values() for label in labels]
                raise UserError(
                    f"--baseline {part}: no single factor has this label.{did_you_mean(factor, every)}"
                    f" Give factor=label; factors are {', '.join(factors)}."
                )
            factor, label = owners[0], factor
        chosen[factor] = label
    return chosen


def _check_baseline(rows: Rows) -> None:
    for factor, label in rows.baseline.items():
        known = rows.factors.get(factor)
        if known is None:
            raise UserError(f"baseline {factor}={label}: there is no such factor. Here are: {', '.join(rows.factors)}.")
        if label not in known:
            raise UserError(
                f"baseline {factor}={label}: there is no such label.{did_you_mean(label, known)}"
                f" Here are: {', '.join(known)}."
            )


def _in_order(row: Row) -> Row:
    row.runs.sort(key=lambda run: (run.seed is None, run.seed, str(run.folder)))
    return row


def _named(factor: str, label: str) -> str:
    """A label that says nothing by itself, such as ``4``, with its factor."""
    says_itself = "." not in factor and factor != IMAGES and any(map(str.isalpha, label))
    return label if says_itself else f"{factor}={label}"
