"""What a person would type to run one job of a sweep alone."""

import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig

from mcl.config.folder import conf_folder
from mcl.errors import UserError
from mcl.tracking.tables import shown

CONFIG_NAME = "train"
OF_THE_SWEEP = (
    *("hydra.mode", "hydra.run.dir", "hydra.sweep"),
    *("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper"),
)
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


def kept_overrides(config: DictConfig, context: HydraContext, overrides: Sequence[str]) -> list[str]:
    """What was typed about Hydra itself and is meant for the jobs, too.

    Args:
        config: of the sweep.
        context: as Hydra gives it to a launcher.
        overrides: of any job.
    """
    kept = [typed for typed in config.hydra.overrides.hydra if not _is_of_the_sweep(typed)]
    single = context.config_loader.load_configuration(
        config.hydra.job.config_name, [*kept, *overrides], run_mode=RunMode.RUN
    )
    # Where a file asks for a multirun: the job of one is not another.
    return [*kept, "hydra.mode=RUN"] if single.hydra.mode is RunMode.MULTIRUN else kept


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
        *(sys.executable, *(torchrun if processes > 1 else []), shown(script)),
        *_sources(config),
        *([] if name == CONFIG_NAME else [f"--config-name={name}"]),
        *overrides,
        f"hydra.run.dir={quoted(shown(folder))}",
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
