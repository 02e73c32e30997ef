"""A job and its outcome."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

LOG = "job.log"
Status = Literal[
    "waiting", "running", "held", "done", "done before", "done elsewhere", "pruned", "failed", "stopped", "not started"
]  # held: another process runs it; pruned: a search ended it early
FINISHED: tuple[Status, ...] = ("done", "done before", "done elsewhere", "pruned")


@dataclass(frozen=True)
class Job:
    """A command and its folder. The methods are hooks: a subclass knows what its jobs write, and resumes them.

    As they are here, nothing is known of a job: it runs in any case, and its progress is not shown.

    Args:
        name: short, for display.
        folder: folder of the job; jobs with the same folder are the same job.
        command: the command line.
        resume_command: the command line of a job that was started before; empty for the same.
        typed: the command in the log; empty for the command line itself.
        varied: the options that differ between the jobs, for display.
        kind: jobs of one kind need the same memory.
    """

    locks_folder: ClassVar[bool] = False  # whether a job exits with the status `IN_USE` if `holder` is another process

    name: str
    folder: Path
    command: tuple[str, ...]
    resume_command: tuple[str, ...] = ()
    typed: str = ""
    varied: str = ""
    kind: str = ""

    @property
    def log(self) -> Path:
        """The file with the output of all attempts."""
        return self.folder / LOG

    @property
    def title(self) -> str:
        """The options that differ, or else the name."""
        return self.varied or self.name

    def summary(self) -> Mapping[str, Any] | None:
        """Return what the finished job has left in its folder; None if it has to run."""
        return None

    def new_summary(self) -> Mapping[str, Any] | None:
        """Return the same for a job that has just ended with status 0."""
        return self.summary()

    def was_pruned(self) -> bool:
        """Return whether a search has ended the job early; asked when it has ended with status 0."""
        return False

    def holder(self) -> str | None:
        """Describe the process that works in the folder now; None if there is none."""
        return None

    def progress(self, since: float) -> tuple[float, float | None] | None:
        """Return the fraction that is done, and the seconds that the rest will take; None if unknown.

        Args:
            since: start of the attempt, in seconds since 1970.
        """
        return None

    def milestone(self, seconds: float) -> int:
        """Return a number that has grown once every part of the job has run, so that its memory is known.

        Args:
            seconds: seconds since the start of the attempt; 0 before it.
        """
        return 0


@dataclass
class Outcome:
    """The state of a job."""

    job: Job
    status: Status = "waiting"
    attempts: int = 0
    requeued: int = 0  # how often its exit status has put it back
    begun: bool = False  # whether an attempt has ended
    seconds: float = 0.0  # sum over all attempts
    device: str = ""  # device of the last attempt
    reason: str = ""  # why it is not finished
    returned: Any = None  # return value of the job
    summary: Mapping[str, Any] | None = None
    alone: bool = False  # whether no other job may run on its device, because memory ran out once

    @property
    def finished(self) -> bool:
        return self.status in FINISHED
