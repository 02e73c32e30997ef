"""From overrides to jobs, and from what came of them to what Hydra expects. Hydra skips files with an underscore."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.mcl_gpus._checks import Fingerprints, refuse_shared_folders
from hydra_plugins.mcl_gpus._command import command_of, kept_overrides, script_of, varied
from mcl.config.entry import ASKED_FOR_TRACEBACKS, FULL_ERROR
from mcl.config.groups import check_groups
from mcl.config.identity import config_hash
from mcl.config.objective import value
from mcl.errors import UserError
from mcl.launching.board import Board
from mcl.launching.devices import VISIBLE, find_gpus
from mcl.launching.job import Job, Outcome
from mcl.launching.slots import make_slots
from mcl.launching.sweep import Sweep

if TYPE_CHECKING:
    from hydra_plugins.mcl_gpus.launcher import GpusLauncher


class Returned(JobReturn):
    """What came of a job. That one failed is said once, by the error itself."""

    cfg: DictConfig
    hydra_cfg: DictConfig

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
    slots = make_slots(find_gpus(launcher.options.devices, os.environ), launcher.options)
    with _seeing(slots[0].visible):
        returns = [_compose(launcher, overrides, first + i) for i, overrides in enumerate(job_overrides)]
    script = script_of(launcher.task_function)
    kept = kept_overrides(config, launcher.hydra_context, job_overrides[0])
    configs = [done.cfg for done in returns]
    folders = [Path(done.hydra_cfg.hydra.runtime.output_dir) for done in returns]
    labels = varied(job_overrides)
    fingerprints = Fingerprints()
    refuse_shared_folders(configs, folders, labels, fingerprints)
    jobs = []
    for cfg, overrides, folder, label in zip(configs, job_overrides, folders, labels, strict=True):
        command = command_of(config, script, [*overrides, *kept], folder, launcher.options.devices_per_job)
        jobs.append(_job(cfg, folder, command, label, fingerprints))
    sweep = Sweep(jobs, slots, launcher.options, Board())
    with _as_typed():
        sweep.run()
    failure = sweep.failure()
    for done, job in zip(returns, jobs, strict=True):
        _fill(done, sweep.outcome(job), failure)
    return returns


def _compose(launcher: "GpusLauncher", overrides: Sequence[str], number: int) -> Returned:
    """The configuration of a job, checked, with the folder it will have."""
    config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(overrides))
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(config)  # which ${hydra:...} asks
        folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(folder.absolute())
    finally:
        HydraConfig.instance().cfg = before
    task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    check_groups(task)
    return Returned(
        overrides=list(overrides),
        cfg=task,
        hydra_cfg=OmegaConf.masked_copy(config, ["hydra"]),
        working_dir=os.getcwd(),
        task_name=JobRuntime.instance().get("name"),
    )


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


@contextmanager
def _seeing(visible: str) -> Iterator[None]:
    """Compose under the devices that a job will see: they decide the precision, and so the name of its folder."""
    with _environment(VISIBLE, visible):
        yield


@contextmanager
def _as_typed() -> Iterator[None]:
    """Jobs print tracebacks only where they were asked for; here Hydra is told to hand every exception over."""
    with _environment(FULL_ERROR, "1" if ASKED_FOR_TRACEBACKS else None):
        yield


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
