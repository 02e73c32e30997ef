"""Read a run folder: settings, results, progress. Nothing is written, and torch is not needed."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mcl.errors import UserError
from mcl.runs.lock import holder
from mcl.runs.stored_config import read_config
from mcl.runs.summary import checksum_mismatch

Status = Literal[
    "finished",
    "running",
    "failed",
    "interrupted",
    "unfinished",
    "unreadable",
    "missing",
    "of other images",  # finished, but no part of what is reported
    "of other settings",  # the same
]
LARGEST = 2**53  # of the whole numbers that a float holds
FILES = ("config.yaml", "metrics.jsonl", "summary.json", "failure.json")


@dataclass(frozen=True)
class Evaluation:
    """The test part after some step: top-1 in percent of each backbone, by the key of its network (``first``)."""

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
    """One run, as its folder tells it.

    Args:
        folder: where it lies.
        status: how it stands.
        reason: why it is not finished, in one sentence; empty for a finished one.
        seed: of its settings, None where these cannot be read.
        config: its settings, empty where there are none.
        summary: its results, empty unless it is finished.
        evaluations: of the test part, in order.
        evaluated_step: of the last line of metrics.jsonl on the test part; None where there is none.
        matching: matching weights, in order; empty where the loss has none.
        notes: what is odd about its files, one sentence each.
        command: what to type for it to be run or gone on with; empty where that is not known.
        shown_folder: what reports call the folder; another one if the files were unpacked from an archive.
    """

    folder: Path
    status: Status
    reason: str = ""
    seed: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    evaluated_step: int | None = None
    matching: list[Matching] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = ""
    shown_folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.shown_folder = self.folder

    @property
    def finished(self) -> bool:
        """Whether it ended well and its results can be read."""
        return self.status == "finished"

    @property
    def has_curve(self) -> bool:
        """Whether it finished and its metrics.jsonl reaches the end of training."""
        if not self.finished or self.evaluated_step is None:
            return False
        return self.evaluated_step == self.summary.get("steps", self.evaluated_step)


def find_runs(place: Path) -> list[Path]:
    """The run folders in a folder, itself included, in order of their names.

    Raises:
        UserError: there is no such folder.
    """
    if not place.is_dir():
        raise UserError(f"{place}: there is no such folder. Give a folder of runs, such as runs/digits, or a study's.")
    found = []
    for folder, subfolders, files in os.walk(place):
        if set(FILES) & set(files):
            found.append(Path(folder))
            subfolders.clear()  # checkpoints, evaluations and what trackers left
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
    return found


def read_run(folder: Path) -> Run:
    """Everything a report needs of one run. What cannot be read becomes the run's status, reason and notes."""
    run = Run(folder, "missing", "there is no such folder" if not folder.is_dir() else "nothing was run in its folder")
    if not any((folder / name).is_file() for name in FILES):
        return run
    try:
        run.config = read_config((folder / "config.yaml").read_text(), "config.yaml")
        seed = run.config.get("seed")
        run.seed = seed if isinstance(seed, int) else None
        _read_metrics(run)
        summary = _json(folder / "summary.json")
        if summary is None:
            run.status, run.reason = _why_unfinished(run)
            return run
        if fault := _fault(summary):
            raise UserError(f"summary.json {fault}")
    except OSError as error:
        run.status, run.reason = "unreadable", f"{Path(error.filename or folder).name}: {error.strerror}"
    except (UserError, UnicodeDecodeError) as error:
        run.status, run.reason = "unreadable", str(error)
    else:
        run.status, run.reason, run.summary = "finished", "", summary
        if not run.has_curve:
            last = "none" if run.evaluated_step is None else f"that of step {run.evaluated_step}"
            run.notes.append(f"metrics.jsonl lacks evaluations, so it gives no curve: the last there is {last}")
    return run


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping as it is; an empty one for anything else, where a file holds what no run writes."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """A finite number as float; None for anything else, as files hold it in place of a number that is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _json(file: Path) -> dict[str, Any] | None:
    """What a JSON file holds; None where there is none."""
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file.name} is no valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file.name} holds no JSON object")
    return found


def _fault(summary: dict[str, Any]) -> str:
    """What is wrong with a summary; nothing for a good one."""
    if checksum_mismatch(summary):
        return "was altered after it was written: its checksum is wrong"
    networks = summary.get("networks")
    if not isinstance(networks, list) or not networks:
        return "names no networks"
    for network in networks:
        if not isinstance(network, dict) or not isinstance(network.get("name"), str):
            return "has a network without a name"
        if not isinstance(network.get("key", ""), str):
            return "has a network without a key"
    return ""


def _why_unfinished(run: Run) -> tuple[Status, str]:
    epochs = mapping(run.config.get("trainer")).get("epochs")
    so_far = f"{run.evaluations[-1].epoch} of {epochs} epochs evaluated" if run.evaluations else "no epoch evaluated"
    if (by := holder(run.folder)) is not None:
        return "running", f"{by}; {so_far}"
    try:
        failure = _json(run.folder / "failure.json")
    except UserError as error:
        return "failed", str(error)
    if failure is None:
        return "unfinished", f"it stopped without saying why, as a killed process does; {so_far}"
    kind, message = failure.get("error"), failure.get("message")
    said = ": ".join(str(part) for part in (kind, message) if part) or "it does not say why"
    status: Status = "interrupted" if failure.get("status") == "interrupted" else "failed"
    return status, f"{said} (step {failure.get('step')}; {so_far})"


def _read_metrics(run: Run) -> None:
    """Take evaluations and matching weights from ``metrics.jsonl``; a line that cannot be read is noted."""
    file = run.folder / "metrics.jsonl"
    if not file.is_file():
        return
    keys = list(mapping(run.config["pair"]))
    bad = []
    for place, line in _lines(file):
        try:
            values = json.loads(line)
            step, epoch = values["step"], values["epoch"]
            if not all(isinstance(count, int) and 0 <= count < LARGEST for count in (step, epoch)):
                raise ValueError("no counts")
        except (ValueError, KeyError, TypeError):
            bad.append(place)
            continue
        top1 = {key: value for key in keys if (value := number(values.get(f"test/{key}/backbone/top1"))) is not None}
        if any(name.startswith("test/") for name in values):
            run.evaluated_step = step
        if top1:
            run.evaluations.append(Evaluation(step, epoch, top1))
        weights = {
            (places[1], places[2]): value
            for name in values
            if name.startswith("matching/")
            and len(places := name.split("/")) == 3
            and (value := number(values[name])) is not None
        }
        if weights:
            run.matching.append(Matching(step, epoch, weights))
    if bad:
        shown = ", ".join(map(str, bad[:5])) + ", ..." * (len(bad) > 5)
        run.notes.append(f"metrics.jsonl: {len(bad)} line{'s' * (len(bad) > 1)} cannot be read ({shown})")


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that may matter, with their numbers from 1: those of the steps in between are passed over."""
    with open(file, errors="replace") as lines:
        for count, line in enumerate(lines, 1):
            if not line.startswith('{"step"') or '"test/' in line or '"matching/' in line or not line.endswith("}\n"):
                yield count, line
