"""The command line of one job of a multirun."""

import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf

from mcl.config.conf_folder import conf_folder
from mcl.config.quoting import quoted
from mcl.console import display_path
from mcl.errors import UserError
from mcl.program import start

CONFIG_NAME = "train"
TRAIN = "mcl.commands.train"  # the module of the task that train.py starts
MULTIRUN_KEYS = (
    *("hydra.mode", "hydra.run.dir", "hydra.sweep"),
    *("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper"),
)
_JOB_NUMBER = re.compile(r"hydra[.:]job\.(num|id)\b")


def program_of(task: TaskFunction) -> list[str]:
    """Return the words after ``python`` that a user types to start this task: ``["train.py"]``.

    Raises:
        UserError: the task is not defined in a script.
    """
    original = inspect.unwrap(task)
    if original.__module__ == TRAIN:
        script, *others = start("train")
        return [script, *others] if others else [display_path(script)]
    try:
        file = inspect.getsourcefile(original)
    except TypeError:
        file = None
    if file is None or not Path(file).is_file():
        raise UserError("hydra/launcher=gpus starts a script for every job, and this task is not defined in one.")
    return [display_path(file)]


def kept_overrides(config: DictConfig) -> list[str]:
    """Return the given overrides of Hydra's own options that also apply to the jobs.

    Interpolations stay unresolved, because each job resolves them in its own configuration.
    """
    typed = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    assert isinstance(typed, list)
    return [text for text in map(str, typed) if not _concerns_multirun(text)]


def job_overrides(typed: Sequence[str], kept: Sequence[str], number: int, *, asks_for_multirun: bool) -> list[str]:
    """Return all overrides of a job.

    Args:
        typed: overrides of the job itself.
        kept: see `kept_overrides`.
        number: number of the job in the multirun.
        asks_for_multirun: whether one of its configuration files would make the job itself a multirun.
    """
    overrides = [*typed, *(text for text in kept if text not in typed)]
    if any(_JOB_NUMBER.search(text.replace("\\", "")) for text in overrides):  # a job that runs alone has no number
        overrides += [f"hydra.job.num={number}", f"hydra.job.id={number}"]
    return [*overrides, "hydra.mode=RUN"] if asks_for_multirun else overrides


def job_command(
    config: DictConfig, program: Sequence[str], overrides: Sequence[str], folder: Path, processes: int
) -> list[str]:
    """Return ``python train.py OVERRIDES hydra.run.dir=FOLDER``, run by torchrun if there are several processes.

    Args:
        config: configuration of the multirun.
        program: see `program_of`.
        overrides: see `job_overrides`.
        folder: run folder of the job.
        processes: number of processes of the job.
    """
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += [*program, *_config_folders(config)]
    if (name := config.hydra.job.config_name) != CONFIG_NAME:
        command.append(f"--config-name={name}")
    return [*command, *overrides, f"hydra.run.dir={quoted(display_path(folder))}"]


def varied(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return for each job the overrides that not all jobs have."""
    common = set.intersection(*map(set, jobs)) if jobs else set()
    return [" ".join(override for override in overrides if override not in common) for overrides in jobs]


def _concerns_multirun(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in MULTIRUN_KEYS)


def _config_folders(config: DictConfig) -> list[str]:
    """Return flags for the configuration folders that were given on the command line."""
    flags = {"main": "--config-path", "command-line": "--config-dir"}
    return [
        f"{flags[source.provider]}={source.path}"
        for source in config.hydra.runtime.config_sources
        if source.schema == "file"
        and source.provider in flags
        and Path(source.path).resolve() != conf_folder().resolve()
    ]
