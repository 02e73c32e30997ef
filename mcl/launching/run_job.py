"""A run of ``train.py`` as a job of the launcher: what its folder says about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from hydra_gpu_launcher.board import Score
from hydra_gpu_launcher.job import Job, Outcome
from mcl.console import accuracy
from mcl.runs.lock import holder
from mcl.runs.progress_estimate import Progress, last_evaluated_step, read_progress
from mcl.runs.summary import deployed_networks, intact_summary, was_pruned


@dataclass(frozen=True)
class RunJob(Job):
    """One run.

    Args:
        config_hash: hash in the ``summary.json`` of the finished job; None to run the job in any case.
        same_data: whether the ``data`` of such a summary (None if it has none) stands for the images of the job;
            otherwise the job is started, and decides itself.
        epochs: epochs to train; None if unknown.
        max_steps: steps after which it stops, in any epoch.
    """

    locks_folder: ClassVar[bool] = True

    config_hash: str | None = None
    same_data: Callable[[Any], bool] = lambda stored: True
    epochs: int | None = None
    max_steps: int | None = None

    def summary(self) -> dict[str, Any] | None:
        """Return the summary of the finished run, or None."""
        found = intact_summary(self.folder)
        if found is None or self.config_hash is None or found.get("config_hash") != self.config_hash:
            return None
        return found if self.same_data(found.get("data")) else None

    def new_summary(self) -> dict[str, Any] | None:
        """Return the summary of the run that has just ended; None if it is damaged."""
        return intact_summary(self.folder)

    def was_pruned(self) -> bool:
        """Return whether a search has ended the run early."""
        return was_pruned(self.folder)

    def holder(self) -> str | None:
        """Describe the process that works in the run folder; None if there is none."""
        return holder(self.folder)

    def progress(self, since: float) -> Progress | None:
        """Return how far the run is, from its metrics; None while that is unknown."""
        return read_progress(self.folder, self.epochs, self.max_steps, since)

    def milestone(self, seconds: float) -> int:
        """Return the step of the last evaluation: the last part of an epoch to need memory."""
        return last_evaluated_step(self.folder)


def _mean_top1(outcome: Outcome) -> str:
    """Return the mean top-1 of the deployed networks, in percent: on the validation split if no other was looked at."""
    networks = deployed_networks(outcome.summary) if outcome.summary and outcome.summary.get("networks") else []
    values: list[float] = []
    for split in ("", "validation_"):
        values = values or [top1 for network in networks if (top1 := network.get(f"{split}top1_last")) is not None]
    return accuracy(sum(values) / len(values) if values else None, 2)


TOP1 = Score("top-1", "top-1, %", _mean_top1)
