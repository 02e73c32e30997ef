"""Turn overrides into jobs, and their outcomes into what Hydra expects. Hydra skips files with an underscore."""

import copy
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.mcl_gpus._checks import Fingerprints, refuse_shared_folders
from hydra_plugins.mcl_gpus._command import command_of, kept_overrides, overrides_of, script_of, varied
from mcl.config.checks import check_config
from mcl.config.entry import ASKED_FOR_TRACEBACKS, FULL_ERROR
from mcl.config.loader import Progress, ReusingLoader
from mcl.config.objective import value
from mcl.config.resolvers import leaves_precision_open
from mcl.errors import UserError
from mcl.launching.board import Board
from mcl.launching.gpus import find_gpus
from mcl.launching.job import Job, Outcome
from mcl.launching.probe import default_precisions, refuse_unlike, seeing
from mcl.launching.queue import Sweep
from mcl.launching.slots import make_slots
from mcl.runs.identity import config_hash

if TYPE_CHECKING:
    from hydra_plugins.mcl_gpus.launcher import GpusLauncher


class Returned(JobReturn):
    """What came of a job. That one failed is said once, by the error itself."""

    cfg: DictConfig
    hydra_cfg: DictConfig
    asks_for_multirun: bool = False  # whether the files that it chooses say hydra.mode=MULTIRUN
    precision_of_device: bool = False  # whether its precision is left to the device

    @property
    def return_value(self) -> Any:
        if self.status is not JobStatus.COMPLETED:
            raise self._return_value
        return self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


def launch(launcher: "GpusLauncher", job_overrides: Sequence[Sequence[str]], first: int) -> list[Returned]:
    """Compose every job, run those that are not finished, and tell what came of each."""
    if sys.platform == "win32":
        raise UserError("hydra/launcher=gpus needs Linux or macOS; without it, jobs run one after another.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "hydra/launcher=gpus starts processes itself: start it with python instead of torchrun, and say with"
            " hydra.launcher.devices_per_job how many each job gets."
        )
    if not job_overrides:
        return []
    setup_globals()
    config = launcher.config
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    gpus = find_gpus(launcher.options.devices, os.environ)
    slots = make_slots(gpus, launcher.options)
    precisions = default_precisions(gpus)
    with seeing(slots[0].visible):
        returns = _compose_all(launcher, job_overrides, first)
    if any(done.precision_of_device for done in returns):
        refuse_unlike(precisions)
    script = script_of(launcher.task_function)
    kept = kept_overrides(config)
    configs = [done.cfg for done in returns]
    folders = [Path(done.hydra_cfg.hydra.runtime.output_dir) for done in returns]
    labels = varied(job_overrides)
    fingerprints = Fingerprints()
    refuse_shared_folders(configs, folders, labels, fingerprints)
    jobs = []
    for i, (done, typed, folder, label) in enumerate(zip(returns, job_overrides, folders, labels, strict=True)):
        overrides = overrides_of(typed, kept, first + i, asks_for_multirun=done.asks_for_multirun)
        command = command_of(config, script, overrides, folder, launcher.options.devices_per_job)
        jobs.append(_job(done.cfg, folder, command, label, fingerprints))
    sweep = Sweep(jobs, slots, launcher.options, Board())
    with _as_typed():
        sweep.run()
    failure = sweep.failure()
    for done, job in zip(returns, jobs, strict=True):
        _fill(done, sweep.outcome(job), failure)
    return returns


def _compose_all(launcher: "GpusLauncher", job_overrides: Sequence[Sequence[str]], first: int) -> list[Returned]:
    """Compose and check every job."""
    loader = launcher.loader
    loader.progress = Progress(len(job_overrides))
    config = _without_mode(launcher.config)
    return [_compose(loader, config, each, first + i) for i, each in enumerate(job_overrides)]


def _without_mode(config: DictConfig) -> DictConfig:
    """Leave out that a multirun was typed, so that a job's ``hydra.mode`` says what its own files ask for."""
    config = copy.deepcopy(config)
    typed = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    assert isinstance(typed, list)
    with read_write(config.hydra):
        config.hydra.overrides.hydra = [text for text in typed if not text.lstrip("+").startswith("hydra.mode=")]
    return config


def _compose(loader: ReusingLoader, of_the_sweep: DictConfig, overrides: Sequence[str], number: int) -> Returned:
    """Return the configuration of a job, checked and resolved, with the folder it will have."""
    config = loader.load_sweep_config(of_the_sweep, list(overrides))
    asks_for_multirun = config.hydra.mode is RunMode.MULTIRUN
    precision_of_device = leaves_precision_open(config)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
        config.hydra.mode = RunMode.MULTIRUN
    with _hydra_config(config) as own:  # which ${hydra:...} asks
        folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
        with read_write(own.hydra.runtime), open_dict(own.hydra.runtime):
            own.hydra.runtime.output_dir = str(folder.absolute())
        _resolve(config)
        check_config(config)  # again, where hydra.sweep.subdir does not ask for the run folder
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


def _job(config: DictConfig, folder: Path, command: Sequence[str], label: str, fingerprints: Fingerprints) -> Job:
    runs = Path(config.runs).absolute()
    return Job(
        name=str(folder.relative_to(runs)) if folder.is_relative_to(runs) else str(folder),
        folder=folder,
        command=tuple(command),
        config_hash=None if config.resume.name == "never" else config_hash(config),
        same_data=partial(fingerprints.agree, config),
        varied=label,
        epochs=config.trainer.get("epochs"),
        max_steps=config.trainer.get("max_steps"),
    )


def _fill(done: Returned, outcome: Outcome, failure: UserError | None) -> None:
    if outcome.finished:
        done.status = JobStatus.COMPLETED
        done.return_value = outcome.returned
        if outcome.returned is None and outcome.summary is not None:
            done.return_value = value(outcome.summary, done.cfg.objective)
    else:
        done.status = JobStatus.FAILED
        done.return_value = failure or UserError(f"{outcome.job.title}: {outcome.reason or outcome.status}")


def _resolve(config: DictConfig) -> None:
    """Resolve interpolations in place, and leave out Hydra's own part, which some of them ask."""
    for key in [str(key) for key in config if key != "hydra"]:
        if OmegaConf.is_config(config[key]):
            OmegaConf.resolve(config[key])
        else:
            config[key] = config[key]
    with open_dict(config):
        del config["hydra"]


@contextmanager
def _hydra_config(config: DictConfig) -> Iterator[DictConfig]:
    """Make a configuration the one that is asked for Hydra's own part, and yield a copy of that part."""
    instance = HydraConfig.instance()
    before = instance.cfg
    try:
        instance.set_config(config)
        assert isinstance(instance.cfg, DictConfig)
        yield instance.cfg
    finally:
        instance.cfg = before


@contextmanager
def _as_typed() -> Iterator[None]:
    """Jobs print tracebacks only where they were asked for; here Hydra is told to hand every exception over."""
    before = os.environ.pop(FULL_ERROR, None)
    if ASKED_FOR_TRACEBACKS:
        os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        os.environ.pop(FULL_ERROR, None)
        if before is not None:
            os.environ[FULL_ERROR] = before
