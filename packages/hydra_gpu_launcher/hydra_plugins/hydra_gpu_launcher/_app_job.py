"""A job of an application of which nothing is known but its folder. Hydra does not scan ``_*.py``."""

import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from hydra_gpu_launcher.console import display_path
from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.job import LOG, Job
from hydra_plugins.hydra_gpu_launcher._run_pickled import RETURN

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AppJob(Job):
    """A job that is finished if a file is there.

    Args:
        done: name of that file; None to run the job in any case.
        measure_seconds: seconds after which the memory of the job is known.
    """

    done: str | None = None
    measure_seconds: float = 60.0

    def summary(self) -> Mapping[str, Any] | None:
        """Return what `read_return` returns for a finished job; None if it has to run."""
        if self.done is None or not (self.folder / self.done).exists():
            return None
        return read_return(self.folder)

    def milestone(self, seconds: float) -> int:
        """Return 1 once the job has run for as long as its memory is measured."""
        return int(0 < seconds >= self.measure_seconds)


def read_return(folder: Path) -> dict[str, Any]:
    """Return the ``return_value`` and the ``working_dir`` that a finished job has kept.

    Empty if it kept none, or if they cannot be read, which is logged.
    """
    try:
        with open(folder / RETURN, "rb") as file:
            return dict(pickle.load(file))
    except FileNotFoundError:
        return {}
    except Exception as error:  # damaged, or of a class that cannot be unpickled: the other jobs have their values
        logger.warning("%s cannot be read, so None is returned: %s", display_path(folder / RETURN), error)
        return {}


def texts(overrides: Any) -> list[str]:
    """Return the overrides in a list of OmegaConf; interpolations stay as they were typed."""
    typed = OmegaConf.to_container(overrides, resolve=False)
    return list(map(str, typed)) if isinstance(typed, list) else []


def was_started(folder: Path, overrides: Path | None, allowed: list[list[str]], done: str | None) -> bool:
    """Return whether an earlier multirun has started this job.

    Args:
        folder: folder of the job.
        overrides: the file in which Hydra keeps the overrides of a job; None if it was asked not to.
        allowed: overrides of this job, first and resumed.
        done: see `AppJob`.

    Raises:
        LauncherError: the folder has a finished job of other overrides.
    """
    if not (folder / LOG).exists():
        return False
    if overrides is None or not overrides.is_file():
        return True
    earlier = texts(OmegaConf.load(overrides))
    if earlier in allowed:
        return True
    if done is not None and (folder / done).exists():
        raise LauncherError(
            f"{display_path(folder)} has the finished job {' '.join(earlier) or 'without overrides'}, not"
            f" {' '.join(allowed[0]) or 'one without overrides'}: give another hydra.sweep.dir, or"
            " hydra.launcher.done=null to run it all the same."
        )
    return False
