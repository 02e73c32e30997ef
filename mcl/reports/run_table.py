"""A table of runs for scripts and notebooks: settings, results and curves. `mcl.reports.read_runs` makes it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mcl.extras import require
from mcl.reports.statistics import mean_of_known
from mcl.runs.identity import identity
from mcl.runs.metrics_file import read_metrics
from mcl.runs.reading import Run, Status, number
from mcl.runs.summary import deployed_networks

if TYPE_CHECKING:
    import pandas

POSITION = ("step", "epoch", "time")  # of a line of metrics.jsonl


class Curve(NamedTuple):
    """The finite values that a run logged under one name."""

    steps: list[int]
    epochs: list[int]
    values: list[float]


@dataclass(frozen=True)
class NetworkResult:
    """The results of one network of a finished run; accuracies are of the test split, in percent.

    Args:
        key: its key in the pair, such as ``first``.
        name: its architecture.
        top1_last, top5_last: accuracy after the last epoch.
        top1_best, best_epoch: accuracy at its best epoch, and that epoch.
        validation_top1_last: accuracy on the validation split after the last epoch; None without one.
        values: every number that ``summary.json`` has for it, these included.
    """

    key: str
    name: str
    top1_last: float | None
    top5_last: float | None
    top1_best: float | None
    best_epoch: float | None
    validation_top1_last: float | None
    values: dict[str, float] = field(repr=False)


@dataclass(frozen=True)
class RunResult:
    """One run of a `RunTable`.

    Args:
        labels: its row, as factor -> label: ``{"loss": "lmcl"}``.
        seed: its seed; None if its settings cannot be read.
        status: ``finished``, ``running``, ``failed``, ``missing``, ...
        reason: why it does not count, in one sentence; empty for a finished run.
        folder: its folder; of an archived run, the folder that unpacking the archive makes.
        settings: its options, as ``{"optimizer.lr": 0.1, ...}``; empty if there are none.
        networks: results of its networks; empty unless it is finished.
        ensemble_top1_last: accuracy of the ensemble after the last epoch, in percent.
        summary: all of ``summary.json``; empty unless it is finished.
        notes: problems with its files, one sentence each.
    """

    labels: dict[str, str]
    seed: int | None
    status: Status
    reason: str
    folder: Path
    settings: dict[str, Any] = field(repr=False)
    networks: tuple[NetworkResult, ...]
    ensemble_top1_last: float | None
    summary: dict[str, Any] = field(repr=False)
    notes: tuple[str, ...]
    _run: Run = field(repr=False, compare=False)
    _lines: list[dict[str, Any]] = field(repr=False, compare=False)  # those of results.csv
    _files: object = field(repr=False, compare=False)  # an unpacked archive, which exists as long as this does

    @property
    def finished(self) -> bool:
        """Whether its results count."""
        return self.status == "finished"

    @property
    def top1_last(self) -> float | None:
        """The mean accuracy of the networks that it deploys, after the last epoch; None if one is unknown."""
        if not self.finished:
            return None
        values = [number(network.get("top1_last")) for network in deployed_networks(self.summary)]
        return None if None in values else mean_of_known(values)

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Everything in ``metrics.jsonl`` by name, such as ``"test/first/backbone/top1"``; read at the first use.

        Empty if the metrics of a finished run are not whole: ``notes`` has the reason.
        """
        if self.finished and not self._run.has_curve:
            return {}
        curves: dict[str, Curve] = {}
        try:
            lines = [line for _, line in read_metrics(self._run.folder) if line is not None]
        except FileNotFoundError:
            if self.finished:  # it has been moved since the table was read
                raise
            return {}
        for line in lines:
            for name, logged in line.values.items():
                if name not in POSITION and (value := number(logged)) is not None:
                    curve = curves.setdefault(name, Curve([], [], []))
                    curve.steps.append(line.step)
                    curve.epochs.append(line.epoch)
                    curve.values.append(value)
        return curves


class RunTable(list[RunResult]):
    """Runs in the order of a report: row by row, then by seed.

    Attributes:
        notes: sentences on how the rows were formed, and on runs that are in none.
    """

    def __init__(self, runs: Iterable[RunResult] = (), notes: Iterable[str] = ()):
        super().__init__(runs)
        self.notes = list(notes)

    @property
    def finished(self) -> "RunTable":
        """The runs whose results count."""
        return RunTable((run for run in self if run.finished), self.notes)

    def to_pandas(self) -> "pandas.DataFrame":
        """Return one line per run and network: the columns of ``results.csv``, then the settings that differ.

        An unfinished run has one line, without network and numbers.

        Raises:
            UserError: pandas is not installed.
        """
        require("pandas", asked="to_pandas()")
        import pandas

        own = [identity(run._run.config) if run._run.config else {} for run in self]
        names = sorted({name for settings in own for name in settings if name != "seed" and "_partial_" not in name})
        differing = [name for name in names if len({repr(settings.get(name)) for settings in own if settings}) > 1]
        lines = []
        for run, settings in zip(self, own, strict=True):
            values = {name: settings.get(name) for name in differing if name not in run.labels}
            lines += [{**line, **values} for line in run._lines]
        return pandas.DataFrame(lines)
