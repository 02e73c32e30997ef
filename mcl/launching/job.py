"""A job and its outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mcl.runs.summary import intact_summary

LOG = "job.log"
Status = Literal[
    "waiting", "running", "held", "done", "done before", "done elsewhere", "pruned", "failed", "stopped", "not started"
]  # held: another process runs it; pruned: a search ended it early
FINISHED: tuple[Status, ...] = ("done", "done before", "done elsewhere", "pruned")


@dataclass(frozen=True)
class Job:
    """One run as plain data.

    Args:
        name: short, for display.
        folder: run folder; jobs with the same folder are the same job.
        command: the command line, as a user would type it.
        config_hash: hash in the ``summary.json`` of the finished job; None to run the job in any case.
        same_data: whether the ``data`` of such a summary (None if it has none) stands for the images of the job;
            otherwise the job is started, and decides itself.
        varied: the options that differ between the jobs, for display.
        epochs: epochs to train; None if unknown.
        max_steps: steps after which it stops, in any epoch.
        kind: jobs of one kind need the same memory.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    config_hash: str | None = None
    same_data: Callable[[Any], bool] = lambda stored: True
    varied: str = ""
    epochs: int | None = None
    max_steps: int | None = None
    kind: str = ""

    @property
    def log(self) -> Path:
        """The file with the output of all attempts."""
        return self.folder / LOG

    @property
    def title(self) -> str:
        """The options that differ, or else the name."""
        return self.varied or self.name

    def summary(self) -> dict[str, Any] | None:
        """Return the summary of the finished run, or None."""
        found = intact_summary(self.folder)
        if found is None or self.config_hash is None or found.get("config_hash") != self.config_hash:
            return None
        return found if self.same_data(found.get("data")) else None


@dataclass
class Outcome:
    """The state of a job."""

    job: Job
    status: Status = "waiting"
    attempts: int = 0
    seconds: float = 0.0  # sum over all attempts
    device: str = ""  # device of the last attempt
    reason: str = ""  # why it is not finished
    returned: Any = None  # return value of the job
    summary: Mapping[str, Any] | None = None
    alone: bool = False  # whether no other job may run on its device, because memory ran out once

    @property
    def finished(self) -> bool:
        return self.status in FINISHED
