"""Series over training from metrics.jsonl, per run and as the mean of each row."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mcl.reports.figures import evenly_spaced
from mcl.reports.row_labels import network_names
from mcl.reports.rows import Row
from mcl.runs.metrics_file import read_metrics
from mcl.runs.reading import Run, number

ACCURACY, TERMS, PACE = "accuracy", "terms", "pace"  # the charts of series
PACES = {
    "lr": "learning rate",
    "images_per_second": "training images per second",
    "grad_norm": "gradient norm",
    "loss_scale": "loss scale",
    "skipped": "skipped steps",
}
PARTS = {"test": "", "validation": ", validation split"}
BACKBONE = "backbone"

Name = tuple[str, str]  # chart, name of the series
Series = dict[Name, dict[int, float]]  # step -> value


@dataclass(frozen=True)
class Line:
    """A series of one run, or of the finished runs of a row.

    Args:
        run: the run; None for the mean of the row.
        epochs: epoch of each point; fractions if an epoch has several points.
        values: finite value of each point.
        runs: number of runs averaged.
        low, high: of each point, the worst and the best of these runs; empty for a single run.
    """

    run: Run | None
    epochs: tuple[float, ...]
    values: tuple[float, ...]
    runs: int = 1
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def lines(row: Row) -> dict[Name, list[Line]]:
    """Return each series of a row: first the mean, if any, then the runs, unless the mean is of a single one.

    A mean is of the finished runs that have the series and a complete metrics.jsonl, at the steps that all of them
    logged.
    """
    read = [(run, *read_series(run)) for run in row.runs]
    rate = max((rate for *_, rate in read if rate), default=None)
    by_name: dict[Name, list[Line]] = {}
    for name in dict.fromkeys(name for _, series, _ in read for name in series):
        having = [(run, series[name]) for run, series, _ in read if name in series]
        averaged = [points for run, points in having if run.has_curve]
        by_name[name] = []
        if average := _average(averaged):
            mean = _line(None, average, rate, len(averaged))
            if len(averaged) > 1:
                runs = [[points[step] for points in averaged] for step in average]
                mean = replace(mean, low=tuple(map(min, runs)), high=tuple(map(max, runs)))
            by_name[name].append(mean)
        alone = len(averaged) == 1
        by_name[name] += [_line(run, points, rate) for run, points in having if not (alone and run.has_curve)]
    return by_name


def thinned(line: Line, most: int) -> Line:
    """Return a line of at most ``most`` points, evenly chosen, its ends among them."""
    chosen = evenly_spaced(len(line.epochs), most)

    def thin(column: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(column[i] for i in chosen) if column else ()

    return replace(line, epochs=thin(line.epochs), values=thin(line.values), low=thin(line.low), high=thin(line.high))


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
    """Return the chart and the name of the series that metrics.jsonl calls ``key``; None if no chart has it."""
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
    """Return the accuracies of networks of one name, averaged; backbones first, as in the tables."""
    means: Series = {}
    for name in dict.fromkeys(networks.values()):
        alike = [_called(key, networks) for key, network in networks.items() if network == name]
        heads = dict.fromkeys(
            label.removeprefix(f"{alike[0]}, ")
            for chart, label in series
            if chart == ACCURACY and label.startswith(f"{alike[0]}, ")
        )
        for head in sorted(heads, key=lambda head: head != BACKBONE):
            logged = [points for each in alike if (points := series.get((ACCURACY, f"{each}, {head}"))) is not None]
            if 1 < len(alike) == len(logged):
                means[ACCURACY, f"{name}, {head}, mean of {len(alike)} networks"] = _average(logged)
    return means


def _average(series: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean of some series at the steps that all of them have."""
    steps = sorted(set.intersection(*map(set, series))) if series else []
    return {step: sum(points[step] for points in series) / len(series) for step in steps}


def _line(run: Run | None, points: Mapping[int, float], steps_per_epoch: float | None, runs: int = 1) -> Line:
    rate = steps_per_epoch or max(1, *points)
    return Line(run, tuple(step / rate for step in points), tuple(points.values()), runs)


def _steps_per_epoch(logged: Iterable[Mapping[str, object]]) -> float | None:
    """Return the steps of an epoch: the maximum over lines of steps per epoch begun.

    The last step of an epoch, which is always logged, reaches this maximum. A last epoch cut short by
    ``trainer.max_steps`` has fewer steps.
    """
    rates = [
        step / epoch
        for values in logged
        if isinstance(step := values["step"], int) and isinstance(epoch := values.get("epoch"), int) and epoch > 0
    ]
    return max(rates, default=None) or None
