"""Rows of a table: runs grouped by settings, the baseline of each row, the numbers of each run."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mcl.console import display_path
from mcl.errors import UserError, did_you_mean
from mcl.program import program
from mcl.reports.image_sets import IMAGES, UNKNOWN, data_settings, differ, fingerprint, set_aside_other_images
from mcl.reports.local_paths import name_folders
from mcl.reports.row_labels import add_settings, place_labels, sort_labels
from mcl.reports.statistics import Estimate, estimate, mean_of_known
from mcl.runs.identity import identity
from mcl.runs.reading import Run, mapping, number, read_run
from mcl.runs.summary import deployed_networks
from mcl.studies.claim import Claim
from mcl.studies.plan import read_planned
from mcl.studies.study import Study

METRICS = {  # value of --metric -> name in the tables
    "top1_last": "backbone, last epoch",
    "top1_best": "backbone, best epoch",
    "top1_max_over_heads": "best head, best epoch",
    "ensemble": "ensemble, last epoch",
}
MAX_OVER_RUN = "top1_max_over_run"
ENSEMBLE = "ensemble"
INDEPENDENT = "independent"
DATA_SEED = "dataset.seed"
ENSEMBLE_ECE = "ensemble_ece"
OF_ENSEMBLE = {ENSEMBLE: "top1_last", ENSEMBLE_ECE: "ece_last"}  # metric -> its key in the summary


@dataclass
class Row:
    """Runs that differ only in their seed, on the same images as far as their summaries record.

    Args:
        labels: factor -> label.
        runs: runs in order of their seeds, each seed once, finished or not.
        kinds: different networks that a run deploys, as far as a plan says.
    """

    labels: dict[str, str]
    runs: list[Run]
    kinds: int = 1

    @property
    def finished(self) -> list[Run]:
        """The runs whose results count."""
        return [run for run in self.runs if run.finished]

    def values(self, metric: str) -> dict[str, dict[int, float]]:
        """Return ``{network name: {seed: percent}}`` of the finished runs, without numbers that are not finite."""
        by_network: dict[str, dict[int, float]] = {}
        for run in self.finished:
            assert run.seed is not None
            for network, value in run_values(run.summary, metric).items():
                by_seed = by_network.setdefault(network, {})
                if value is not None:
                    by_seed[run.seed] = value
        return by_network

    def estimates(self, metric: str) -> dict[str, Estimate]:
        """Return the estimate over the finished runs of each network name."""
        return {network: estimate(values.values()) for network, values in self.values(metric).items()}


@dataclass
class Rows:
    """The rows of a table.

    Args:
        factors: factor -> its labels, in order.
        rows: rows in that order.
        baseline: labels of the rows that others are compared with; empty for none.
        compared: the factors in which a row and its baseline may differ.
        notes: sentences on how the rows were formed.
        unplaced: runs that belong to no row, each with the reason.
        claim: the claim of the study, if it has one and the baseline is its own.
        ranked: whether the report ranks the rows.
        planned: whether a study plans the rows, run or not.
        teachers: runs that were trained before those of the rows, which start from their weights.
    """

    factors: dict[str, list[str]]
    rows: list[Row]
    baseline: dict[str, str]
    compared: set[str]
    notes: list[str] = field(default_factory=list)
    unplaced: list[Run] = field(default_factory=list)
    claim: Claim | None = None
    ranked: bool = False
    planned: bool = False
    teachers: list[Row] = field(default_factory=list)

    @property
    def varying(self) -> list[str]:
        """The factors that distinguish rows; of a single row, its last factor."""
        several = [factor for factor in self.factors if len({row.labels.get(factor, "") for row in self.rows}) > 1]
        return several or list(self.factors)[-1:]

    @property
    def constant(self) -> dict[str, str]:
        """The label of each factor that is the same in all rows."""
        return {
            factor: row.labels.get(factor, "")
            for row in self.rows[:1]
            for factor in self.factors
            if factor not in self.varying
        }

    @property
    def runs(self) -> list[Run]:
        """All runs of all rows."""
        return [run for row in self.rows for run in row.runs]

    def name(self, row: Row, factors: Iterable[str] | None = None) -> str:
        """Return the labels that distinguish a row, of all factors or of some: ``"resnet32, lmcl"``."""
        chosen = self.varying if factors is None else [factor for factor in self.varying if factor in factors]
        return ", ".join(_named(factor, row.labels[factor]) for factor in chosen if row.labels.get(factor))

    @property
    def shared(self) -> list[str]:
        """The factors in which a row and its baseline are equal."""
        return [factor for factor in self.factors if factor not in self.compared]

    def groups(self) -> dict[str, list[Row]]:
        """Return the rows that are compared with one another, by what they share; "" if they share all labels."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(self.name(row, self.shared), []).append(row)
        return groups

    def counterparts(self, row: Row, labels: Mapping[str, str]) -> list[Row]:
        """Return the rows with these labels and otherwise those that ``row`` shares with its baseline: ideally one."""
        shared = {factor: row.labels.get(factor, "") for factor in self.shared}
        return [other for other in self.rows if self.has_labels(other, shared | dict(labels))]

    def baselines_of(self, row: Row) -> list[Row]:
        """Return the rows with the baseline's labels and otherwise those of ``row``: ideally one."""
        return self.counterparts(row, self.baseline) if self.baseline else []

    def without_ablations(self) -> "Rows":
        """Return the rows without those that are ablations of the claim's method."""
        answers = [row for question in self.claim.ablations.values() for row in question] if self.claim else []
        kept = [row for row in self.rows if not any(self.has_labels(row, labels) for labels in answers)]
        return replace(self, rows=kept)

    def has_labels(self, row: Row, labels: Mapping[str, str]) -> bool:
        """Return whether a row has all these labels."""
        return all(row.labels.get(factor, "") == label for factor, label in labels.items())


def run_values(summary: Mapping[str, Any], metric: str) -> dict[str, float | None]:
    """Return one number per name of a deployed network, in percent; networks of one name are averaged.

    The run is the unit. Networks that only help in training, such as the peers of a leader, do not count.

    Args:
        summary: summary of a finished run.
        metric: a name of ``METRICS`` or ``OF_ENSEMBLE``, where the ensemble counts as a network;
            ``top1_max_over_run``, which all networks share; or another number that a summary has for each network.
    """
    if metric in OF_ENSEMBLE:
        return {ENSEMBLE: number(mapping(summary.get("ensemble")).get(OF_ENSEMBLE[metric]))}
    by_name: dict[str, list[float | None]] = {}
    for network in deployed_networks(summary):
        value = summary.get(metric) if metric == MAX_OVER_RUN else network.get(metric)
        by_name.setdefault(network["name"], []).append(number(value))
    return {name: None if None in values else mean_of_known(values) for name, values in by_name.items()}


def rows_of_study(study: Study, baseline: Mapping[str, str] | None = None, archived: Iterable[Run] = ()) -> Rows:
    """Return the rows that a study plans, with what has become of their runs.

    A finished run that is not the one planned, or that saw other images than the others, does not count.

    Args:
        study: the plan.
        baseline: labels of the rows that others are compared with; None for those of the study.
        archived: runs that stand for planned ones without a folder.
    """
    rows: dict[tuple[str, ...], Row] = {}
    for planned, run in zip(study.runs, read_planned(study.runs, archived), strict=True):
        run.seed = planned.seed
        run.command = f"{program('train')} {shlex.join(planned.overrides)}"
        _set_aside_other_settings(run)
        row = rows.setdefault(tuple(planned.labels.values()), Row(dict(planned.labels), [], planned.kinds))
        row.runs.append(run)
    name_folders(run for row in rows.values() for run in row.runs)
    set_aside_other_images(run for row in rows.values() for run in row.runs)

    chosen = dict(study.baseline if baseline is None else baseline)
    compared = set(chosen) or set(list(study.factors)[-1:])
    sorted_rows = list(map(_sort_runs, rows.values()))
    claim = study.claim if baseline is None else None
    found = Rows(dict(study.factors), sorted_rows, chosen, compared, claim=claim, ranked=study.ranks, planned=True)
    return _check_baseline(replace(found, teachers=_teachers(study, archived)))


def _teachers(study: Study, archived: Iterable[Run]) -> list[Row]:
    rows: dict[tuple[str, ...], Row] = {}
    for planned, run in zip(study.teachers, read_planned(study.teachers, archived), strict=True):
        run.seed = planned.seed
        rows.setdefault(tuple(planned.labels.values()), Row(dict(planned.labels), [])).runs.append(run)
    return list(rows.values())


def rows_of_folders(folders: Iterable[Path], baseline: Mapping[str, str] | str | None = None) -> Rows:
    """Return rows formed from the runs in some folders: runs that differ only in their seed share a row.

    If runs of one dataset with the same settings saw different images, each fingerprint has rows of its own.

    Args:
        folders: the run folders.
        baseline: labels of the rows that others are compared with, or text for `parse_baseline`; None for the rows with
            ``loss=independent``.
    """
    runs = list(map(read_run, folders))
    name_folders(runs)
    unplaced = [run for run in runs if not run.config or run.seed is None]
    readable = [run for run in runs if run.config and run.seed is not None]
    images = _images(readable)
    settings_of = _without_seeds(readable)
    rows: dict[str, Row] = {}
    settings: dict[str, dict[str, Any]] = {}
    for run in readable:
        own = settings_of[id(run)]
        labels = place_labels(run)
        key = json.dumps([labels, images[id(run)], own], sort_keys=True, default=str)
        settings[key] = own
        repeated = _add_run(rows.setdefault(key, Row(labels, [])), run)
        if repeated is not None:
            unplaced.append(repeated)
    notes = ["Rows are runs that differ in nothing but their seed."]
    notes += add_settings([row.labels for row in rows.values()], list(settings.values()))
    if any(images.values()):
        for row in rows.values():
            row.labels[IMAGES] = images[id(row.runs[0])]
    names = next((list(row.labels) for row in rows.values()), [])
    labels_of = {factor: sort_labels({row.labels[factor] for row in rows.values()}) for factor in names}
    if isinstance(baseline, str):
        baseline = parse_baseline(baseline, labels_of) if rows else None
    chosen = dict(baseline or {})
    if baseline is None and any(row.labels["loss"] == INDEPENDENT for row in rows.values()):
        chosen = {"loss": INDEPENDENT}
        notes.append("The baseline of a row is the one with `loss=independent` that is otherwise equal.")
    compared = set(chosen) or {"loss"}
    if "loss" in compared:
        compared |= {factor for factor in names if factor.startswith("loss.")}
    factors = {factor: sort_labels(labels, first=chosen.get(factor)) for factor, labels in labels_of.items()}

    def order(row: Row) -> list[int]:
        return [labels.index(row.labels[factor]) for factor, labels in factors.items()]

    in_order = sorted(map(_sort_runs, rows.values()), key=order)
    return _check_baseline(Rows(factors, in_order, chosen, compared, notes, unplaced))


def _without_seeds(runs: Sequence[Run]) -> dict[int, dict[str, Any]]:
    """Return ``{id(run): settings}`` without the seed, and without that of the data where it is always the same.

    A group of one seed cannot show whether the seed of its data follows it. It does if that of another group does.
    """
    settings = {id(run): {key: value for key, value in identity(run.config).items() if key != "seed"} for run in runs}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        others = {key: value for key, value in settings[id(run)].items() if key != DATA_SEED}
        groups.setdefault(json.dumps(others, sort_keys=True, default=str), []).append(run)
    equal = [group for group in groups.values() if all(settings[id(run)].get(DATA_SEED) == run.seed for run in group)]
    if any(len({run.seed for run in group}) > 1 for group in equal):
        for run in (run for group in equal for run in group):
            del settings[id(run)][DATA_SEED]
    return settings


def _add_run(row: Row, run: Run) -> Run | None:
    """Add a run to its row. Of two runs with one seed, return the one that does not count: the unfinished or second."""
    first = next((other for other in row.runs if other.seed == run.seed), None)
    if first is None:
        row.runs.append(run)
        return None
    if run.finished and not first.finished:
        row.runs[row.runs.index(first)] = run
        first, run = run, first
    run.notes.append(
        f"repeats the settings and the seed of {display_path(first.shown_folder)}, which counts in its place"
    )
    return run


def _images(runs: Sequence[Run]) -> dict[int, str]:
    """Return ``{id(run): label}`` by the images it saw; empty labels if all runs of one kind saw the same ones."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((place_labels(run)["dataset"], data_settings(run)), []).append(run)
    return {
        id(run): (fingerprint(run) or UNKNOWN) if differ(map(fingerprint, group)) else ""
        for group in groups.values()
        for run in group
    }


def _set_aside_other_settings(run: Run) -> None:
    """Exclude a finished run whose summary has another hash than the name of its folder."""
    name, stored = run.folder.name, run.summary.get("config_hash")
    if run.finished and isinstance(stored, str) and stored != name and re.fullmatch("[0-9a-f]{10}", name):
        run.status = "of other settings"
        run.reason = f"its summary.json is that of run {stored}. With resume=never its command trains it anew"
        run.command = f"{run.command} resume=never"


def parse_baseline(text: str, factors: Mapping[str, Sequence[str]], *, option: str = "--baseline") -> dict[str, str]:
    """Parse ``"loss=mcl,pair=resnet8"``, or a label alone if a single factor has it, into ``{factor: label}``."""
    chosen: dict[str, str] = {}
    whole = text.partition("=")[2] or text
    one = any(whole.strip() in labels for labels in factors.values())  # a label may have a comma
    for part in [text] if one else text.split(","):
        factor, equals, label = part.strip().partition("=")
        if not equals:
            owners = [name for name, labels in factors.items() if factor in labels]
            if len(owners) != 1:
                every = [label for labels in factors.values() for label in labels]
                raise UserError(
                    f"{option} {part.strip()}: no single factor has this label.{did_you_mean(factor, every)}"
                    f" Give factor=label; factors are {', '.join(factors)}."
                )
            factor, label = owners[0], factor
        if chosen.setdefault(factor, label) != label:
            raise UserError(f"{option} {text}: {factor} has one label, not {chosen[factor]} and {label}.")
    return chosen


def _check_baseline(rows: Rows) -> Rows:
    for factor, label in rows.baseline.items():
        known = rows.factors.get(factor)
        if known is None:
            raise UserError(f"baseline {factor}={label}: there is no such factor. Here are: {', '.join(rows.factors)}.")
        if label not in known:
            raise UserError(
                f"baseline {factor}={label}: there is no such label.{did_you_mean(label, known)}"
                f" Here are: {', '.join(known)}."
            )
    return rows


def _sort_runs(row: Row) -> Row:
    row.runs.sort(key=lambda run: (run.seed is None, run.seed, str(run.folder)))
    return row


def _named(factor: str, label: str) -> str:
    """Return a label; one that means nothing by itself, such as ``4``, with its factor."""
    clear = "." not in factor and factor != IMAGES and any(map(str.isalpha, label))
    return label if clear else f"{factor}={label}"
