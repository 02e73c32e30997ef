"""Probes in a report: how good the frozen features of the networks are, beside their accuracy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcl.reports.accuracy_tables import key, key_header
from mcl.reports.markdown import NONE, cell, interval, percent, with_deviation
from mcl.reports.rows import Rows
from mcl.reports.statistics import Estimate, estimate
from mcl.reports.tables import Table
from mcl.runs.probe_record import LINEAR, Measure, NetworkProbe, ProbeRecord
from mcl.runs.reading import Run
from mcl.runs.received import file_name
from mcl.runs.summary import deployed_networks

CAPTION = "Accuracy of classifiers on frozen features, in percent of the test images of {name}; mean ± deviation"


@dataclass
class Probed:
    """One data set that runs were probed with.

    Args:
        name: of the data set.
        label: the name, with the selection of images if another one has the same name.
        records: the records, by the run they belong to (its ``id``).
    """

    name: str
    label: str
    records: dict[int, ProbeRecord]

    def networks(self, run: Run) -> dict[str, list[NetworkProbe]]:
        """Return the probes of a run's deployed networks, by their names."""
        record, by_name = self.records.get(id(run)), dict[str, list[NetworkProbe]]()
        for network in deployed_networks(run.summary):
            found = record.networks.get(str(network.get("key"))) if record is not None else None
            if found is not None:
                by_name.setdefault(network["name"], []).append(found)
        return by_name


def probed_sets(rows: Rows) -> list[Probed]:
    """Return the data sets that finished runs were probed with, after training; of equal names, each selection."""
    found: dict[tuple[str, str], dict[int, ProbeRecord]] = {}
    for run in (run for row in rows.rows for run in row.finished):
        for record in run.probes:
            if record.weights == "last" and record.step == run.summary.get("steps", record.step):
                found.setdefault((record.dataset, record.images), {})[id(run)] = record
    names = [name for name, _ in found]
    return [
        Probed(name, f"{name}_{images}" if names.count(name) > 1 else name, records)
        for (name, images), records in sorted(found.items())
    ]


def probe_table(rows: Rows, probed: Probed) -> Table:
    """Return the measures of one data set, for each network of each row that was probed with it."""
    names = list(dict.fromkeys(_names(probed)))
    body = []
    for row in rows.rows:
        probes = [probed.networks(run) for run in row.finished]
        for network in dict.fromkeys(name for each in probes for name in each):
            of_runs = [each[network] for each in probes if network in each]
            measured = {name: _estimate(of_runs, name) for name in names}
            accuracy = row.estimates("top1_last").get(network, Estimate(0))
            numbers = [with_deviation(accuracy), with_deviation(measured[LINEAR]), _interval(of_runs, measured[LINEAR])]
            numbers += [with_deviation(measured[name]) for name in names if name != LINEAR]
            body.append([key(rows, row, network), *numbers, str(len(of_runs))])
    headers = ["own top-1", "linear", "95 % interval", *(name for name in names if name != LINEAR), "runs"]
    label = f"probe-{file_name(probed.label)}"
    return Table(label, f"{CAPTION.format(name=probed.name)}.", [key_header(rows), *headers], body).without_empty()


def probe_section(rows: Rows) -> list[str]:
    """Return the section on probes; nothing if no run was probed."""
    lines = []
    for probed in probed_sets(rows):
        first = next(iter(probed.records.values()))
        lines += [
            *(f"### {cell(probed.name)}", ""),
            *probe_table(rows, probed).in_markdown(),
            f"{first.classes:,} classes, {first.train:,} training and {first.test:,} test images (selection"
            f" {first.images}).",
            "",
        ]
    if not lines:
        return []
    return [
        "## Frozen features",
        "",
        "Accuracy of classifiers on the frozen features of the deployed networks (`python -m mcl probe`), in percent of"
        " the test images: mean ± deviation between runs, beside the accuracy on the run's own test images. `linear` is"
        " logistic regression, n-NN the majority of the n nearest training images by cosine, n-shot the nearest class"
        " mean of n images a class. The interval is that of the mean over runs (Student's t); of a single run, it is"
        " Wilson's over the test images.",
        "",
        *lines,
    ]


def _names(probed: Probed) -> Iterator[str]:
    for record in probed.records.values():
        for network in record.networks.values():
            yield from network.measures


def _estimate(of_runs: Sequence[Sequence[NetworkProbe]], name: str) -> Estimate:
    """Return the estimate over runs; networks of one name count once, by their mean."""
    return estimate(
        sum(network.measures[name].top1 for network in networks) / len(networks)
        for networks in of_runs
        if all(name in network.measures for network in networks)
    )


def _interval(of_runs: Sequence[Sequence[NetworkProbe]], linear: Estimate) -> str:
    if len(of_runs) == 1 and len(of_runs[0]) == 1:
        measure: Measure = of_runs[0][0].measures[LINEAR]
        return " to ".join(map(percent, measure.interval)) if measure.interval else NONE
    return interval(linear)


def probe_columns(run: Run, key: str, probed: Sequence[Probed]) -> dict[str, float]:
    """Return ``{"probe_digits_linear": 94.7, ...}`` of one network of a run, for ``results.csv``."""
    columns = {}
    for each in probed:
        record = each.records.get(id(run))
        if record is not None and key in record.networks:
            for name, measure in record.networks[key].measures.items():
                columns[f"probe_{each.label}_{name}"] = measure.top1
    return columns
