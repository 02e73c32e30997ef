"""Series over training from metrics.jsonl, per run and as the mean of each row."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mcl.reports.row_labels import network_names
from mcl.reports.rows import Row, mean
from mcl.runs.metrics_file import read_metrics
from mcl.runs.reading import Run, number

ACCURACY, TERMS, PACE = "accuracy", "terms", "pace"  # the charts that share out the series
PACES = {"lr": "learning rate", "images_per_second": "training images per second", "grad_norm": "gradient norm"}
PARTS = {"test": "", "validation": ", validation part"}
BACKBONE = "backbone"

Name = tuple[str, str]  # chart, what people call the series
Series = dict[Name, dict[int, float]]  # step -> value


@dataclass(frozen=True)
class Line:
    """A series of one run, or of the finished runs of a row.

    Args:
        run: whose; None for the mean of the row.
        epochs: fractions where several points lie within an epoch.
        values: as many, finite.
        runs: how many runs it is of.
    """

    run: Run | None
    epochs: tuple[float, ...]
    values: tuple[float, ...]
    runs: int = 1


def lines(row: Row) -> dict[Name, list[Line]]:
    """Each series of a row: its mean first, where there is one, then the runs it does not stand for by itself.

    A mean is of the finished runs that have the series and a whole metrics.jsonl, at the steps that all of these
    logged.
    """
    read = {id(run): read_series(run) for run in row.runs}
    series = {run: found for run, (found, _) in read.items()}
    rate = max((rate for _, rate in read.values() if rate), default=None)
    found: dict[Name, list[Line]] = {}
    for name in dict.fromkeys(name for of in series.values() for name in of):
        having = [run for run in row.runs if name in series[id(run)]]
        averaged = [run for run in having if run.has_curve]
        found[name] = []
        if averaged:
            shared = sorted(set.intersection(*({*series[id(run)][name]} for run in averaged)))
            average = {step: sum(series[id(run)][name][step] for run in averaged) / len(averaged) for step in shared}
            if average:
                found[name].append(_line(None, average, rate, len(averaged)))
        found[name] += [_line(run, series[id(run)][name], rate) for run in having if [run] != averaged]
    return found


def thinned(line: Line, most: int) -> Line:
    """A line of no more than ``most`` points, evenly chosen, its ends among them."""
    count = len(line.epochs)
    if count <= most:
        return line
    chosen = [round(i * (count - 1) / (most - 1)) for i in range(most)]
    return replace(line, epochs=tuple(line.epochs[i] for i in chosen), values=tuple(line.values[i] for i in chosen))


def read_series(run: Run) -> tuple[Series, float | None]:
    """Return every series of a run that a chart has a place for, and its steps per epoch; None if it logged nothing.

    Lines that cannot be read are passed over.
    """
    try:
        logged = [(line.step, line.values) for _, line in read_metrics(run.folder) if line is not None]
    except OSError:
        return {}, None
    names = network_names(run.config) if run.config else {}
    found: Series = {}
    for key in dict.fromkeys(key for _, values in logged for key in values):
        if (name := _name(key, names)) is not None:
            points = {step: value for step, values in logged if (value := number(values.get(key))) is not None}
            if points:
                found[name] = points
    return {**_means(found, names), **found}, _steps_per_epoch(values for _, values in logged)


def _name(key: str, networks: Mapping[str, str]) -> Name | None:
    """The chart and the name of what metrics.jsonl calls ``key``; None for what has no place."""
    match key.split("/"):
        case [("test" | "validation") as part, "ensemble", "top1"]:
            return ACCURACY, f"ensemble{PARTS[part]}"
        case [("test" | "validation") as part, network, head, "top1"]:
            return ACCURACY, f"{_called(network, networks)}, {head}{PARTS[part]}"
        case ["train", "top1", network]:
            return ACCURACY, f"{_called(network, networks)}, training batches"
        case ["train", pace] if pace in PACES:
            return PACE, PACES[pace]
        case ["train", "total"]:
            return TERMS, "total"
        case ["train", term]:
            return TERMS, f"{term}, raw"
        case ["train", "weighted", term]:
            return TERMS, f"{term}, weighted"
        case ["meta", term]:
            return TERMS, f"{term} of meta rounds"
    return None


def _called(network: str, networks: Mapping[str, str]) -> str:
    return f"{network} ({networks[network]})" if network in networks else network


def _means(series: Series, networks: Mapping[str, str]) -> Series:
    """Accuracies of networks of one name, averaged; backbones first, for they are what the tables have."""
    found: Series = {}
    for name in dict.fromkeys(networks.values()):
        alike = [_called(key, networks) for key, of in networks.items() if of == name]
        heads = dict.fromkeys(
            label.removeprefix(f"{alike[0]}, ")
            for chart, label in series
            if chart == ACCURACY and label.startswith(f"{alike[0]}, ")
        )
        for head in sorted(heads, key=lambda head: head != BACKBONE):
            of_each = [series.get((ACCURACY, f"{called}, {head}")) for called in alike]
            there = [of for of in of_each if of is not None]
            if 1 < len(alike) == len(there):
                steps = sorted(set.intersection(*map(set, there)))
                averages = {step: mean([of[step] for of in there]) for step in steps}
                found[ACCURACY, f"{name}, {head}, mean of {len(alike)} networks"] = {
                    step: value for step, value in averages.items() if value is not None
                }
    return found


def _line(run: Run | None, points: Mapping[int, float], steps_per_epoch: float | None, runs: int = 1) -> Line:
    rate = steps_per_epoch or max(1, *points)
    return Line(run, tuple(step / rate for step in points), tuple(points.values()), runs)


def _steps_per_epoch(logged: Iterable[Mapping[str, object]]) -> float | None:
    """Return the steps of an epoch: the most that any line has had per epoch begun.

    The last step of every epoch is logged, and only there is this number reached: a last epoch that
    ``trainer.max_steps`` breaks off is counted, but has fewer steps. Before the first epoch ends, all of it is one.
    """
    rates = [
        step / epoch
        for values in logged
        if isinstance(step := values["step"], int) and isinstance(epoch := values.get("epoch"), int) and epoch > 0
    ]
    return max(rates, default=None) or None
