"""Hand jobs to a Hydra launcher or sweeper inside a program, as ``python train.py -m`` does."""

from collections.abc import Callable, Sequence
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, setup_globals
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict

from mcl.config.conf_folder import add_own_conf, conf_folder
from mcl.config.schema import register

Task = Callable[[DictConfig], Any]


def launch(task: Task, jobs: Sequence[Sequence[str]], settings: Sequence[str]) -> list[JobReturn]:
    """Run jobs with the launcher that ``settings`` choose.

    Args:
        task: the function that train.py decorates.
        jobs: overrides of each job.
        settings: overrides of Hydra itself (``hydra/launcher=gpus``) and of the folder of all jobs (``runs=``).

    Returns:
        The outcome of each job, in order; that of a failed job holds its exception. If the launcher stops at the first
        failure, the jobs of later batches have none.
    """
    context, config = _prepare(settings)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
    size = config.hydra.sweeper.get("max_batch_size") or len(jobs) or 1  # like Hydra's own sweeper
    returns: list[JobReturn] = []
    for first in range(0, len(jobs), size):
        returns += launcher.launch([list(job) for job in jobs[first : first + size]], initial_job_idx=first)
        if config.hydra.launcher.get("fail_fast") and any(each.status is JobStatus.FAILED for each in returns):
            break
    return returns


def stops_at_failure(settings: Sequence[str]) -> bool:
    """Return whether the launcher that ``settings`` choose starts nothing more when a job has failed."""
    return bool(_prepare(settings)[1].hydra.launcher.get("fail_fast"))


def search(task: Task, common: Sequence[str], settings: Sequence[str]) -> None:
    """Run the jobs that a sweeper proposes, each with the overrides ``common``."""
    context, config = _prepare(settings)
    sweeper = Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=task, config=config)
    sweeper.sweep(arguments=list(common))


def _prepare(settings: Sequence[str]) -> tuple[HydraContext, DictConfig]:
    register()
    setup_globals()
    JobRuntime.instance().set("name", "train")
    loader = ConfigLoaderImpl(config_search_path=add_own_conf(create_config_search_path(str(conf_folder()))))
    config = loader.load_configuration("train", overrides=list(settings), run_mode=RunMode.MULTIRUN)
    with open_dict(config.hydra):
        config.hydra.mode = RunMode.MULTIRUN
    HydraConfig.instance().set_config(config)
    return HydraContext(config_loader=loader, callbacks=Callbacks(config)), config
