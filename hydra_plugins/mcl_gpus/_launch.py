"""Turn overrides into jobs, and outcomes into the returns that Hydra expects. Hydra does not scan ``_*.py``."""

import copy
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, setup_globals
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_gpu_launcher.board import Board
from hydra_gpu_launcher.gpu_monitor import GpuMonitor, gpu_monitor
from hydra_gpu_launcher.gpus import find_gpus
from hydra_gpu_launcher.job import Job, Outcome
from hydra_gpu_launcher.launch_options import AUTO, Options
from hydra_gpu_launcher.queue import JobQueue
from hydra_gpu_launcher.slots import Slot, make_slots
from hydra_plugins.mcl_gpus._checks import Fingerprints, check_distinct_folders
from hydra_plugins.mcl_gpus._command import job_command, job_overrides, kept_overrides, program_of, varied
from mcl.config.checks import check_config
from mcl.config.entry import ASKED_FOR_TRACEBACKS, FULL_ERROR
from mcl.config.loader import Progress, ReusingLoader
from mcl.config.objective import value
from mcl.config.resolvers import leaves_precision_open
from mcl.errors import UserError
from mcl.files import expand_home
from mcl.launching.gpu_query import (
    default_precisions,
    environment_variable,
    require_same_precision,
    uuids,
    visible_devices,
)
from mcl.launching.run_job import TOP1, RunJob
from mcl.runs.identity import config_hash, identity
from mcl.runs.secret_values import without_secrets


class Returned(JobReturn):
    """The outcome of a job. Reading the return value of a failed one raises its error, and logs nothing else."""

    cfg: DictConfig
    hydra_cfg: DictConfig
    asks_for_multirun: bool = False  # whether its configuration files set hydra.mode=MULTIRUN
    precision_of_device: bool = False  # whether the device decides its precision

    @property
    def return_value(self) -> Any:
        if self.status is not JobStatus.COMPLETED:
            raise self._return_value
        return self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


def launch(
    options: Options,
    loader: ReusingLoader,
    config: DictConfig,
    task: TaskFunction,
    typed: Sequence[Sequence[str]],
    first: int,
) -> list[Returned]:
    """Compose every job and run those that are not finished.

    Args:
        options: Of the launcher.
        loader: Composes the jobs.
        config: Of the multirun.
        task: The function that Hydra would call for each job; jobs run the script that starts it.
        typed: overrides of each job.
        first: Number of the first job.
    """
    if not typed:
        return []
    machine = find_machine(options, config)
    with visible_devices(machine.slots[0].visible):
        returns = _compose_all(loader, config, typed, first)
    if any(job.precision_of_device for job in returns):
        require_same_precision(machine.precisions)
    configs = [job.cfg for job in returns]
    folders = [Path(job.hydra_cfg.hydra.runtime.output_dir) for job in returns]
    labels = varied(typed)
    fingerprints = Fingerprints()
    check_distinct_folders(configs, folders, labels, fingerprints)
    make_job = JobMaker(options, config, task, fingerprints)
    jobs = [
        make_job(returned, overrides, first + i, label)
        for i, (returned, overrides, label) in enumerate(zip(returns, typed, labels, strict=True))
    ]
    queue = JobQueue(jobs, machine.slots, options, Board(score=TOP1), machine.monitor)
    # Here Hydra is asked to hand every exception over; jobs print tracebacks only if the user asked for them.
    with environment_variable(FULL_ERROR, "1" if ASKED_FOR_TRACEBACKS else None):
        queue.run()
    failure = queue.failure()
    for returned, job in zip(returns, jobs, strict=True):
        fill(returned, queue.outcome(job), failure)
    return returns


class Machine(NamedTuple):
    """Where jobs can run: the slots, the precisions that the devices ask for, and what watches their memory."""

    slots: list[Slot]
    precisions: dict[str, str]
    monitor: GpuMonitor | None


def find_machine(options: Options, config: DictConfig) -> Machine:
    """Find the devices, and set up the logging of a multirun.

    Raises:
        UserError: this launcher cannot work here, or a device does not exist.
    """
    if sys.platform == "win32":
        raise UserError("hydra/launcher=gpus needs Linux or macOS; without it, jobs run one after another.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "hydra/launcher=gpus starts processes itself: start it with python instead of torchrun, and give the"
            " processes of each job with hydra.launcher.devices_per_job."
        )
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    gpus = find_gpus(options.devices, os.environ)
    slots = make_slots(gpus, options)
    precisions = default_precisions(gpus)
    monitor = None
    if gpus and options.needs_monitor:
        asked = "per_gpu=auto" if options.per_gpu == AUTO else "wait_for_free=true"
        monitor = gpu_monitor(uuids(gpus), f"hydra.launcher.{asked}")
    return Machine(slots, precisions, monitor)


class JobMaker:
    """Make the jobs of a multirun from what `compose_job` returns.

    Args:
        options: Of the launcher.
        config: Of the multirun.
        task: The function that Hydra would call for each job.
        fingerprints: fingerprints of the images, shared by all jobs.
    """

    def __init__(self, options: Options, config: DictConfig, task: TaskFunction, fingerprints: Fingerprints):
        self._options, self._config, self._fingerprints = options, config, fingerprints
        self._program = program_of(task)
        self._kept = kept_overrides(config)

    def __call__(self, returned: Returned, typed: Sequence[str], number: int, label: str) -> Job:
        """Return a job.

        Args:
            returned: the composed job.
            typed: its overrides.
            number: its number in the multirun.
            label: the options that differ between the jobs.
        """
        folder = Path(returned.hydra_cfg.hydra.runtime.output_dir)
        overrides = job_overrides(typed, self._kept, number, asks_for_multirun=returned.asks_for_multirun)
        command = job_command(self._config, self._program, overrides, folder, self._options.devices_per_job)
        return _job(returned.cfg, folder, command, label, self._fingerprints)


def _compose_all(
    loader: ReusingLoader, config: DictConfig, typed: Sequence[Sequence[str]], first: int
) -> list[Returned]:
    loader.progress = Progress(len(typed))
    config = without_mode(config)
    return [compose_job(loader, config, overrides, first + i) for i, overrides in enumerate(typed)]


def without_mode(config: DictConfig) -> DictConfig:
    """Remove ``hydra.mode`` of the command line, so that the mode of a job is the one its own files ask for."""
    config = copy.deepcopy(config)
    typed = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    assert isinstance(typed, list)
    with read_write(config.hydra):
        config.hydra.overrides.hydra = [text for text in typed if not text.lstrip("+").startswith("hydra.mode=")]
    return config


def compose_job(loader: ReusingLoader, multirun: DictConfig, overrides: Sequence[str], number: int) -> Returned:
    """Compose, check and resolve the configuration of a job; determine its folder."""
    config = loader.load_sweep_config(multirun, list(overrides))
    asks_for_multirun = config.hydra.mode is RunMode.MULTIRUN
    precision_of_device = leaves_precision_open(config)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
        config.hydra.mode = RunMode.MULTIRUN
    with _hydra_config(config) as own:  # lets ${hydra:...} resolve
        folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
        with read_write(own.hydra.runtime), open_dict(own.hydra.runtime):
            own.hydra.runtime.output_dir = str(folder.absolute())
        _resolve(config)
        check_config(config)  # again, in case hydra.sweep.subdir does not use the run folder
    composed = Returned(
        overrides=list(overrides),
        cfg=config,
        hydra_cfg=own,
        working_dir=os.getcwd(),
        task_name=JobRuntime.instance().get("name"),
    )
    composed.asks_for_multirun = asks_for_multirun
    composed.precision_of_device = precision_of_device
    return composed


def _job(config: DictConfig, folder: Path, command: Sequence[str], label: str, fingerprints: Fingerprints) -> RunJob:
    runs = expand_home(config.runs).absolute()
    return RunJob(
        name=str(folder.relative_to(runs)) if folder.is_relative_to(runs) else str(folder),
        folder=folder,
        command=tuple(command),
        typed=shlex.join(without_secrets(list(command))),
        config_hash=None if config.resume.name == "never" else config_hash(config),
        same_data=partial(fingerprints.agree, config),
        varied=label,
        epochs=config.trainer.get("epochs"),
        max_steps=config.trainer.get("max_steps"),
        kind=_kind(config),
    )


def _kind(config: DictConfig) -> str:
    """Return the settings that decide how much memory a run needs, as text.

    Its seeds, its initial weights and factors such as ``lr`` do not, but a factor of 0 leaves a part out.
    """
    settings = {
        name: value
        for name, value in identity(config).items()
        if name not in ("seed", "dataset.seed")
        and not re.fullmatch(r"init_from.*|pair\.[^.]+\.weights", name)
        and not (value and isinstance(OmegaConf.select(config, name), float))
    }
    return json.dumps(settings, sort_keys=True, default=str)


def fill(returned: Returned, outcome: Outcome, failure: Exception | None) -> None:
    if outcome.finished:
        returned.status = JobStatus.COMPLETED
        returned.return_value = outcome.returned
        if outcome.returned is None and outcome.summary is not None:
            returned.return_value = value(outcome.summary, returned.cfg.objective)
    else:
        returned.status = JobStatus.FAILED
        returned.return_value = UserError(str(failure or f"{outcome.job.title}: {outcome.reason or outcome.status}"))


def _resolve(config: DictConfig) -> None:
    """Resolve interpolations in place, then remove Hydra's own part, which some of them need."""
    for key in [str(key) for key in config if key != "hydra"]:
        if OmegaConf.is_config(config[key]):
            OmegaConf.resolve(config[key])
        else:
            config[key] = config[key]
    with open_dict(config):
        del config["hydra"]


@contextmanager
def _hydra_config(config: DictConfig) -> Iterator[DictConfig]:
    """Make a configuration the one that ``${hydra:...}`` refers to, and yield a copy of its Hydra part."""
    instance = HydraConfig.instance()
    before = instance.cfg
    try:
        instance.set_config(config)
        assert isinstance(instance.cfg, DictConfig)
        yield instance.cfg
    finally:
        instance.cfg = before
