"""Turn overrides into jobs, and outcomes into the returns that Hydra expects. Hydra does not scan ``_*.py``."""

import json
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, setup_globals
from hydra.errors import CompactHydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_gpu_launcher.board import Board
from hydra_gpu_launcher.console import display_path
from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.gpu_monitor import GpuMonitor, gpu_monitor
from hydra_gpu_launcher.gpus import find_gpus, listed_uuids, nvidia_smi
from hydra_gpu_launcher.job import Outcome
from hydra_gpu_launcher.launch_options import AUTO
from hydra_gpu_launcher.queue import JobQueue
from hydra_gpu_launcher.slots import Slot, make_slots
from hydra_plugins.hydra_gpu_launcher._app_job import AppJob, read_return, texts, was_started
from hydra_plugins.hydra_gpu_launcher._options import AppOptions
from hydra_plugins.hydra_gpu_launcher._run_pickled import BOOTSTRAP


@dataclass
class Composed:
    """A job before it has a command."""

    overrides: list[str]
    config: DictConfig
    resumed: DictConfig  # with the overrides of a job that was started before, in the same folder
    hydra: DictConfig  # its Hydra part alone
    folder: Path


def launch(
    options: AppOptions,
    context: HydraContext,
    config: DictConfig,
    task: TaskFunction,
    typed: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Compose every job, run those that are not finished, and wait for them.

    Args:
        options: of the launcher.
        context: of Hydra.
        config: of the multirun.
        task: the function that Hydra would call for each job.
        typed: overrides of each job.
        first: number of the first job.
    """
    if sys.platform == "win32":
        raise LauncherError("hydra/launcher=gpus needs Linux or macOS; hydra/launcher=basic runs jobs one by one.")
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    slots, monitor = _devices(options)
    composed = [_compose(context, config, overrides, first + i, options) for i, overrides in enumerate(typed)]
    _check_distinct_folders(composed)
    place = Path(str(config.hydra.sweep.dir))
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".jobs-", dir=place) as scratch:
        task_file = Path(scratch).absolute() / "task"
        task_file.write_bytes(_pickled_task(context, task))
        jobs = [_job(each, label, options, task_file) for each, label in zip(composed, _labels(typed), strict=True)]
        queue = JobQueue(jobs, slots, options, Board(), monitor)
        queue.run()
    return [_returned(each, queue.outcome(job)) for each, job in zip(composed, jobs, strict=True)]


def _devices(options: AppOptions) -> tuple[list[Slot], GpuMonitor | None]:
    gpus = find_gpus(options.devices, os.environ)
    if not gpus or not options.needs_monitor:
        return make_slots(gpus, options), None
    asked = f"hydra.launcher.{'per_gpu=auto' if options.per_gpu == AUTO else 'wait_for_free=true'}"
    uuids = listed_uuids(gpus, nvidia_smi())
    # Jobs get UUIDs: CUDA may count in another order than nvidia-smi.
    return make_slots(uuids, options), gpu_monitor({uuid: uuid for uuid in uuids}, asked)


def _compose(
    context: HydraContext, multirun: DictConfig, typed: Sequence[str], number: int, options: AppOptions
) -> Composed:
    """Compose a job as it runs first, and as it is resumed; determine its folder."""

    def compose(overrides: Sequence[str]) -> DictConfig:
        config = context.config_loader.load_sweep_config(multirun, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config

    config = compose(typed)
    resumed = compose([*typed, *options.resume_overrides]) if options.resume_overrides else config
    with _hydra_config(config) as hydra:
        sweep_dir, subdir = str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)
    folder = Path(sweep_dir, subdir).absolute()
    for each in (config, resumed):  # a folder named by its overrides must not change with those of a resumed job
        with read_write(each.hydra), open_dict(each.hydra):
            each.hydra.sweep.dir, each.hydra.sweep.subdir = sweep_dir, subdir
    with read_write(hydra.hydra.runtime), open_dict(hydra.hydra.runtime):
        hydra.hydra.runtime.output_dir = str(folder)
    return Composed(list(typed), config, resumed, hydra, folder)


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


def _check_distinct_folders(composed: Sequence[Composed]) -> None:
    first: dict[Path, Composed] = {}
    for each in composed:
        other = first.setdefault(each.folder, each)
        if other.overrides != each.overrides:
            raise LauncherError(
                f"{' '.join(other.overrides)} and {' '.join(each.overrides)} have one folder,"
                f" {display_path(each.folder)}: let hydra.sweep.subdir contain ${{hydra.job.num}}."
            )


def _pickled_task(context: HydraContext, task: TaskFunction) -> bytes:
    """Return the paths of this process, then what all jobs share: the first must be set before the second is read."""
    shared = {"task_function": task, "hydra_context": context, "singletons": Singleton.get_state()}
    try:
        return pickle.dumps([path or os.getcwd() for path in sys.path]) + cloudpickle.dumps(shared)
    except Exception as error:
        raise LauncherError(
            f"hydra/launcher=gpus sends the task to other processes, but it cannot be pickled: {error}. Create what"
            " cannot be sent, such as locks and open files, inside the task instead of at the top of its file."
        ) from error


def _job(composed: Composed, label: str, options: AppOptions, task_file: Path) -> AppJob:
    def command(name: str, config: DictConfig) -> tuple[str, ...]:
        number = int(composed.config.hydra.job.num)
        file = task_file.with_name(f"{number}{name}")
        file.write_bytes(cloudpickle.dumps(config))
        return (sys.executable, "-c", BOOTSTRAP, str(task_file), str(file))

    output = composed.hydra.hydra.output_subdir
    overrides_file = None if output is None else composed.folder / str(output) / "overrides.yaml"
    allowed = [texts(each.hydra.overrides.task) for each in (composed.config, composed.resumed)]
    resume_command = command("-resumed", composed.resumed) if options.resume_overrides else ()
    started = was_started(composed.folder, overrides_file, allowed, options.done)
    return AppJob(
        name=display_path(composed.folder),
        folder=composed.folder,
        command=resume_command if started and resume_command else command("", composed.config),
        resume_command=resume_command,
        typed=" ".join([str(composed.hydra.hydra.job.name), *composed.overrides]),
        varied=label,
        kind=json.dumps(_without_numbers(OmegaConf.to_container(composed.config, resolve=False)), default=str),
        done=options.done,
        measure_seconds=options.measure_seconds,
    )


def _without_numbers(settings: Any) -> Any:
    """Return the settings that may decide how much memory a job needs: all but fractions, seeds and Hydra's own."""
    if not isinstance(settings, dict):
        return settings
    return {
        str(key): _without_numbers(value)
        for key, value in settings.items()
        if not isinstance(value, float) and key not in ("hydra", "seed")
    }


def _labels(typed: Sequence[Sequence[str]]) -> list[str]:
    """Return for each job the overrides that not all jobs have."""
    common = set.intersection(*map(set, typed)) if typed else set()
    return [" ".join(override for override in overrides if override not in common) for overrides in typed]


def _returned(composed: Composed, outcome: Outcome) -> JobReturn:
    task_config = composed.config.copy()
    with read_write(task_config), open_dict(task_config):
        del task_config["hydra"]
    kept = read_return(composed.folder) if outcome.finished else {}
    returned = JobReturn(
        overrides=composed.overrides,
        cfg=task_config,
        hydra_cfg=composed.hydra,
        working_dir=kept.get("working_dir", os.getcwd()),
        task_name=JobRuntime.instance().get("name"),
    )
    if outcome.finished:
        returned.status = JobStatus.COMPLETED
        returned.return_value = kept.get("return_value")
    else:
        returned.status = JobStatus.FAILED
        returned.return_value = CompactHydraException(
            f"{outcome.job.title}: {outcome.reason or outcome.status}; see {display_path(outcome.job.log)}"
        )
    return returned
