"""The command line that runs one job of a multirun alone."""

import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf

from mcl.config.conf_folder import conf_folder
from mcl.console import display_path
from mcl.errors import UserError

CONFIG_NAME = "train"
OF_THE_SWEEP = (
    *("hydra.mode", "hydra.run.dir", "hydra.sweep"),
    *("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper"),
)
_JOB_NUMBER = re.compile(r"hydra[.:]job\.(num|id)\b")
_PLAIN = re.compile(r"[\w.+-]*/[\w./+-]*", re.ASCII)  # a path that Hydra takes as it is; without a slash: a number?


def script_of(task: TaskFunction) -> Path:
    """The file that a person runs to get this task.

    Raises:
        UserError: the task has none.
    """
    try:
        file = inspect.getsourcefile(inspect.unwrap(task))
    except TypeError:
        file = None
    if file is None or not Path(file).is_file():
        raise UserError("hydra/launcher=gpus starts a script for every job, and this task is in none.")
    return Path(file).absolute()


def kept_overrides(config: DictConfig) -> list[str]:
    """Return what was typed about Hydra itself and is meant for the jobs, too.

    Interpolations stay as typed, because each job resolves them in its own configuration.

    Args:
        config: of the sweep.
    """
    typed = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    assert isinstance(typed, list)
    return [text for text in map(str, typed) if not _is_of_the_sweep(text)]


def overrides_of(typed: Sequence[str], kept: Sequence[str], number: int, *, asks_for_multirun: bool) -> list[str]:
    """Return all overrides of a job.

    Args:
        typed: its own.
        kept: those of Hydra that every job has.
        number: of the job in the sweep.
        asks_for_multirun: whether a file that it chooses would make the job itself a multirun.
    """
    overrides = [*typed, *(text for text in kept if text not in typed)]
    if any(_JOB_NUMBER.search(text.replace("\\", "")) for text in overrides):  # a job that is run alone has no number
        overrides += [f"hydra.job.num={number}", f"hydra.job.id={number}"]
    return [*overrides, "hydra.mode=RUN"] if asks_for_multirun else overrides


def command_of(config: DictConfig, script: Path, overrides: Sequence[str], folder: Path, processes: int) -> list[str]:
    """``python train.py OVERRIDES hydra.run.dir=FOLDER``, with torchrun in between for several processes.

    Args:
        config: of the sweep.
        script: what is run.
        overrides: of the job, and those of Hydra that it keeps.
        folder: where it leaves its files.
        processes: of the job.
    """
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    name = config.hydra.job.config_name
    return [
        *(sys.executable, *(torchrun if processes > 1 else []), display_path(script)),
        *_sources(config),
        *([] if name == CONFIG_NAME else [f"--config-name={name}"]),
        *overrides,
        f"hydra.run.dir={quoted(display_path(folder))}",
    ]


def quoted(path: str) -> str:
    """A path as a value in Hydra's grammar."""
    if _PLAIN.fullmatch(path):
        return path
    return QuotedString(path.replace("${", "\\${"), Quote.single).with_quotes()


def varied(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Of each job the overrides that not all of them have."""
    common = set.intersection(*map(set, jobs)) if jobs else set()
    return [" ".join(override for override in overrides if override not in common) for overrides in jobs]


def _is_of_the_sweep(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in OF_THE_SWEEP)


def _sources(config: DictConfig) -> list[str]:
    """Folders of configurations that were named on the command line."""
    flags = {"main": "--config-path", "command-line": "--config-dir"}
    found = [
        (source.provider, source.path) for source in config.hydra.runtime.config_sources if source.schema == "file"
    ]
    return [
        f"{flags[provider]}={path}"
        for provider, path in found
        if provider in flags and Path(path).resolve() != conf_folder().resolve()
    ]
