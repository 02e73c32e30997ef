"""A job and its outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mcl.runs.summary import intact_summary

LOG = "job.log"
Status = Literal[
    "waiting", "running", "held", "done", "done before", "done elsewhere", "failed", "stopped", "not started"
]  # held: another launcher, or a person, runs it
FINISHED: tuple[Status, ...] = ("done", "done before", "done elsewhere")


@dataclass(frozen=True)
class Job:
    """One run as plain data.

    Args:
        name: for people, short.
        folder: where it leaves its files; jobs with the same folder are the same job.
        command: what a person would type.
        config_hash: what a ``summary.json`` in the folder must say for the job to count as finished; None where no
            file says so, and the job is run whatever is there.
        same_data: whether the ``data`` of such a summary (None where there is none) stands for the images of the job;
            if not, the job is started, and refuses or runs as it does alone.
        varied: the options in which it differs from the others, for people.
        epochs: that it will train; None if unknown.
        max_steps: at which it stops, whatever the epoch.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    config_hash: str | None = None
    same_data: Callable[[Any], bool] = lambda stored: True
    varied: str = ""
    epochs: int | None = None
    max_steps: int | None = None

    @property
    def log(self) -> Path:
        """Where its output goes, that of all attempts."""
        return self.folder / LOG

    @property
    def title(self) -> str:
        """What tells it from the others."""
        return self.varied or self.name

    def summary(self) -> dict[str, Any] | None:
        """What it found if it is finished."""
        found = intact_summary(self.folder)
        if found is None or self.config_hash is None or found.get("config_hash") != self.config_hash:
            return None
        return found if self.same_data(found.get("data")) else None


@dataclass
class Outcome:
    """A job, and where it stands."""

    job: Job
    status: Status = "waiting"
    attempts: int = 0
    seconds: float = 0.0  # of all attempts
    device: str = ""  # of the last one
    reason: str = ""  # why it has not finished
    returned: Any = None  # what the job handed over
    summary: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        return self.status in FINISHED
