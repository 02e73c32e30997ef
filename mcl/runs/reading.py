"""Read a run folder: settings, results, progress. Nothing is written, and torch is not needed."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mcl.console import pluralize
from mcl.errors import UserError
from mcl.runs.identity import config_hash
from mcl.runs.layout import CONFIG, METRICS, SIGNS_OF_A_RUN, SUMMARY, WRITTEN
from mcl.runs.lock import holder
from mcl.runs.metrics_file import read_metrics
from mcl.runs.pair import networks_of
from mcl.runs.probe_record import ProbeRecord, find_probes, read_probe
from mcl.runs.stored_config import decode_config
from mcl.runs.summary import METRICS_KEY, PRUNED, metrics_checksum, read_failure, read_summary
from mcl.untrusted.limits import MAX_CONFIG
from mcl.untrusted.regular_files import read_bytes, refuse_outside_links

Status = Literal[
    "finished",
    "running",
    "failed",
    "interrupted",
    "pruned",  # ended early by a search; counts nowhere as finished
    "unfinished",
    "unreadable",
    "missing",
    "of other images",  # finished, but left out of reports
    "of other settings",  # likewise
]


@dataclass(frozen=True)
class Evaluation:
    """Top-1 on the test split after some step, in percent: of each backbone, by the key of its network (``first``)."""

    step: int
    epoch: int
    top1: dict[str, float]


@dataclass(frozen=True)
class Matching:
    """Mean matching weights up to some step: ``{("first.stage1", "second.backbone"): 0.52, ...}``."""

    step: int
    epoch: int
    weights: dict[tuple[str, str], float]


@dataclass
class Run:
    """One run, as read from its folder.

    Args:
        reason: why it is not finished, in one sentence; empty for a finished run.
        seed: its seed; None if its settings cannot be read.
        config: its settings; empty if there are none.
        summary: its results; empty unless it is finished.
        evaluations: evaluations on the test split, in order.
        evaluated_step, evaluated_epoch: the last evaluation in its metrics, even without accuracies; None without one.
        matching: matching weights, in order; empty if the loss has none.
        probes: records of its probes, in order of their names.
        notes: problems with its files, one sentence each.
        command: command that starts or resumes it; empty if unknown.
        shown_folder: name of the folder in reports; another one if the files were unpacked from an archive.
    """

    folder: Path
    status: Status
    reason: str = ""
    seed: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    evaluated_step: int | None = None
    evaluated_epoch: int | None = None
    matching: list[Matching] = field(default_factory=list)
    probes: list[ProbeRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = ""
    shown_folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.shown_folder = self.folder

    @property
    def finished(self) -> bool:
        """Whether it has finished and its results can be read."""
        return self.status == "finished"

    @property
    def has_curve(self) -> bool:
        """Whether it has finished and its metrics reach the end of training."""
        if not self.finished or self.evaluated_step is None:
            return False
        return self.evaluated_step == self.summary.get("steps", self.evaluated_step)


def find_runs(place: Path) -> list[Path]:
    """Return the run folders in a folder, itself included, in order of their names.

    Links to folders are followed. A folder that is there twice counts once, under its own name rather than a link's.

    Raises:
        UserError: There is no such folder, or one in it cannot be read.
    """
    if not place.is_dir():
        found = "a file, not a folder" if place.exists() else "there is no such folder"
        raise UserError(
            f"{place}: {found}. Use a folder of runs (runs/digits) or a study folder (experiments/quickstart)."
        )
    runs, seen = [], set()
    for folder, subfolders, files in os.walk(place, onerror=_refuse, followlinks=True):
        if os.path.realpath(folder) in seen:
            subfolders.clear()
            continue
        seen.add(os.path.realpath(folder))
        if set(SIGNS_OF_A_RUN) & set(files):
            runs.append(Path(folder))
            subfolders.clear()  # checkpoints, evaluations, files of trackers
        shown = (name for name in subfolders if not name.startswith("."))
        subfolders[:] = sorted(shown, key=lambda name: (os.path.islink(os.path.join(folder, name)), name))
    return sorted(runs)


def _refuse(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        return  # a run that failed has just removed the empty folder that it had created
    raise UserError(
        f"{error.filename}: this folder cannot be read ({error.strerror}), so its runs would be left out. Make it"
        " readable, or name the folders of the runs."
    ) from error


def read_run(folder: Path) -> Run:
    """Read what reports need of one run. Unreadable files set its status, reason and notes."""
    run = Run(folder, "missing", "there is no such folder" if not folder.is_dir() else "nothing was run in its folder")
    if not any((folder / name).is_file() for name in SIGNS_OF_A_RUN):
        return run
    try:
        refuse_outside_links(folder, WRITTEN)
        run.config = decode_config(read_bytes(folder / CONFIG, MAX_CONFIG), CONFIG)
        seed = run.config.get("seed")
        run.seed = seed if isinstance(seed, int) else None
        summary = read_summary(folder)  # before the metrics: once it is there, they are complete
        _read_metrics(run)
        if summary is None:
            run.status, run.reason = _why_unfinished(run)
            return run
        if fault := _fault(summary, run.config):
            raise UserError(f"{SUMMARY} {fault}")
    except OSError as error:
        run.status, run.reason = "unreadable", f"{Path(error.filename or folder).name}: {error.strerror}"
    except UserError as error:
        run.status, run.reason = "unreadable", str(error)
    else:
        run.status, run.reason, run.summary = "finished", "", summary
        if _metrics_altered(run):
            run.evaluations, run.matching, run.evaluated_step = [], [], None
            run.notes = [f"{METRICS} is not what this run wrote: it was altered, cut short or lost; it gives no curve"]
        elif not run.has_curve:
            last = "none" if run.evaluated_step is None else f"that of step {run.evaluated_step}"
            run.notes.append(f"{METRICS} lacks evaluations, so it gives no curve: the last there is {last}")
        for file in find_probes(folder):
            _add_probe(run, file)
    return run


def _add_probe(run: Run, file: Path) -> None:
    try:
        run.probes.append(read_probe(file))
    except UserError:
        run.notes.append(f"{file.relative_to(run.folder)} is damaged, so this probe is left out")


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for anything else that a damaged file may hold."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """Return a finite number as float; None for anything else. Files hold null for numbers that are not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _fault(summary: dict[str, Any], config: dict[str, Any]) -> str:
    """Describe what is wrong with a summary, given the configuration beside it; empty if nothing is."""
    if "config_hash" in summary and summary["config_hash"] != config_hash(config):
        return f"is not of the same run as {CONFIG}: put the run's own files back"
    networks = summary.get("networks")
    if not isinstance(networks, list) or not networks:
        return "names no networks"
    for network in networks:
        if not isinstance(network, dict) or not isinstance(network.get("name"), str):
            return "has a network without a name"
        if not isinstance(network.get("key", ""), str):
            return "has a network without a key"
    return ""


def _metrics_altered(run: Run) -> bool:
    """Return whether the metrics of a finished run are not those that it wrote.

    The summary of an earlier version has no checksum of them. Then the last evaluation is compared with the summary.
    """
    expected = run.summary.get(METRICS_KEY)
    if expected is not None:
        try:
            return metrics_checksum(run.folder) != expected
        except OSError:
            return True
    if not run.has_curve or not run.evaluations:
        return False
    last = run.evaluations[-1].top1
    stored = {network.get("key"): number(network.get("top1_last")) for network in run.summary["networks"]}
    return any(stored.get(key) not in (None, value) for key, value in last.items())


def _why_unfinished(run: Run) -> tuple[Status, str]:
    epochs = mapping(run.config.get("trainer")).get("epochs")
    done = run.evaluated_epoch
    progress = "no epoch evaluated" if done is None else f"{done} of {epochs} epochs evaluated"
    if (process := holder(run.folder)) is not None:
        return "running", f"{process}; {progress}"
    try:
        failure = read_failure(run.folder)
    except UserError as error:
        return "failed", str(error)
    if failure is None:
        return "unfinished", f"it stopped without recording a reason; the process was probably killed; {progress}"
    kind, message = failure.get("error"), failure.get("message")
    cause = ": ".join(str(part) for part in (kind, message) if part) or "no reason was recorded"
    if failure.get("status") == PRUNED:
        return "pruned", progress
    status: Status = "interrupted" if failure.get("status") == "interrupted" else "failed"
    return status, f"{cause} (step {failure.get('step')}; {progress})"


def _read_metrics(run: Run) -> None:
    """Add the evaluations and matching weights of ``metrics.jsonl``, and a note on its damaged lines."""
    if not (run.folder / METRICS).is_file():
        return
    keys = list(networks_of(mapping(run.config["pair"])))
    damaged = []
    for place, line in read_metrics(run.folder, "test/", "validation/", "matching/"):
        if line is None:
            damaged.append(place)
            continue
        values = line.values
        top1 = {key: value for key in keys if (value := number(values.get(f"test/{key}/backbone/top1"))) is not None}
        if line.has("test/", "validation/"):
            run.evaluated_step, run.evaluated_epoch = line.step, line.epoch
        if top1:
            run.evaluations.append(Evaluation(line.step, line.epoch, top1))
        weights = {
            (nodes[1], nodes[2]): value
            for name in values
            if name.startswith("matching/")
            and len(nodes := name.split("/")) == 3
            and (value := number(values[name])) is not None
        }
        if weights:
            run.matching.append(Matching(line.step, line.epoch, weights))
    if damaged:
        shown = ", ".join(map(str, damaged[:5])) + ", ..." * (len(damaged) > 5)
        run.notes.append(f"{METRICS}: {pluralize(len(damaged), 'line')} cannot be read ({shown})")
