"""Jobs that are proposed one at a time, as by a search. Hydra does not scan ``_*.py``."""

from collections.abc import Sequence
from typing import Protocol

from hydra.core.utils import JobReturn
from hydra.types import TaskFunction
from omegaconf import DictConfig

from hydra_gpu_launcher.board import Board
from hydra_gpu_launcher.job import Job, Outcome
from hydra_gpu_launcher.launch_options import Options
from hydra_gpu_launcher.queue import JobQueue
from hydra_plugins.mcl_gpus._checks import Fingerprints
from hydra_plugins.mcl_gpus._launch import JobMaker, Machine, Returned, compose_job, fill, find_machine, without_mode
from mcl.config.entry import ASKED_FOR_TRACEBACKS, FULL_ERROR
from mcl.config.loader import Progress, ReusingLoader
from mcl.launching.gpu_query import environment_variable, require_same_precision, visible_devices
from mcl.launching.run_job import TOP1


class Proposals(Protocol):
    """Jobs to run, one at a time."""

    def next(self) -> tuple[int, Sequence[str], str] | None:
        """Return the number, overrides and label of the next job; None if there is none now."""

    def ended(self, number: int, returned: JobReturn, *, stopped: bool) -> None:
        """Take the outcome of a job; ``stopped``: it was stopped, and can be resumed."""


def stream(
    options: Options, loader: ReusingLoader, config: DictConfig, task: TaskFunction, proposals: Proposals
) -> None:
    """Run what ``proposals`` proposes until nothing runs and nothing more comes.

    Args:
        options: Of the launcher.
        loader: Composes the jobs.
        config: Of the multirun.
        task: The function that Hydra would call for each job.
        proposals: what to run.

    Raises:
        LauncherError: a job has failed, and ``fail_fast`` has stopped the others.
    """
    machine = find_machine(options, config)
    source = _Source(machine, loader, without_mode(config), JobMaker(options, config, task, Fingerprints()), proposals)
    queue = JobQueue([], machine.slots, options, Board(score=TOP1), machine.monitor, source)
    with environment_variable(FULL_ERROR, "1" if ASKED_FOR_TRACEBACKS else None):
        queue.run()
    if options.fail_fast and (failure := queue.failure()) is not None:
        raise failure


class _Source:
    """Composes a job when the queue asks for one, and hands back its outcome."""

    def __init__(
        self, machine: Machine, loader: ReusingLoader, config: DictConfig, make_job: JobMaker, proposals: Proposals
    ):
        self._machine, self._loader, self._config = machine, loader, config
        self._make_job, self._proposals = make_job, proposals
        self._running: dict[int, tuple[int, Returned]] = {}  # id of a job -> its number, and what to fill

    def next(self) -> Job | None:
        proposed = self._proposals.next()
        if proposed is None:
            return None
        number, overrides, label = proposed
        self._loader.progress = Progress(1)  # the time between two jobs is not spent on composing them
        with visible_devices(self._machine.slots[0].visible):
            returned = compose_job(self._loader, self._config, overrides, number)
        if returned.precision_of_device:
            require_same_precision(self._machine.precisions)
        job = self._make_job(returned, overrides, number, label)
        self._running[id(job)] = (number, returned)
        return job

    def ended(self, outcome: Outcome) -> None:
        number, returned = self._running.pop(id(outcome.job))
        fill(returned, outcome, None)
        self._proposals.ended(number, returned, stopped=outcome.status in ("stopped", "not started"))
