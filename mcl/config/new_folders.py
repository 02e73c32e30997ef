"""Remember the folders that this process makes for a job before the task starts, so that no other is ever removed."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

_noted: set[Path] = set()
_made: set[Path] = set()


def note(folder: str | Path) -> None:
    """Remember which of a folder and its parents do not exist yet; call it before they are created."""
    _noted.update(_missing(folder))


def make(folder: str | Path) -> None:
    """Create a folder and its parents, and remember which of them this process created."""
    for each in reversed(_missing(folder)):
        with suppress(FileExistsError):  # another process was faster
            each.mkdir()
            _made.add(each)


def made_for(folder: Path) -> set[Path]:
    """Return which of a folder and its parents this process made."""
    return _made.intersection((folder, *folder.parents))


def remove_empty() -> None:
    """Remove the folders that this process made, as far as they are empty."""
    for folder in sorted(_made, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):
            folder.rmdir()
    _made.clear()


def _missing(folder: str | Path) -> list[Path]:
    """Return a folder and its parents, as far as they do not exist, the folder first."""
    path = Path(os.path.abspath(folder))
    missing = []
    for each in (path, *path.parents):
        if os.path.lexists(each):
            break
        missing.append(each)
    return missing


class NoteNewFolders(Callback):
    """Make the folder of a run before Hydra does. ``${run_folder:}`` notes those of the jobs of a multirun."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Make the run folder."""
        with suppress(Exception):  # Hydra resolves and creates it again, and reports what is wrong
            if str(config.hydra.run.dir).strip():
                make(config.hydra.run.dir)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Count the folder that Hydra has just made for the job of a multirun."""
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            folder = Path(HydraConfig.get().runtime.output_dir)
            _made.update(_noted.intersection((folder, *folder.parents)))
