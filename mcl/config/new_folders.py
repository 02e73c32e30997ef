"""Remember the folders that Hydra creates for a job before the task starts."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

_added: set[Path] = set()


def note(folder: str | Path) -> None:
    """Remember which of a folder and its parents do not exist yet; call it before they are created."""
    path = Path(os.path.abspath(folder))
    for each in (path, *path.parents):
        if os.path.lexists(each):
            break
        _added.add(each)


def added_for(folder: Path) -> set[Path]:
    """Return which of a folder and its parents did not exist when they were noted."""
    return _added.intersection((folder, *folder.parents))


class NoteNewFolders(Callback):
    """Note the folder that Hydra is about to create. ``${run_folder:}`` notes those of the jobs of a multirun."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Note the run folder."""
        with suppress(Exception):  # Hydra resolves it again and reports what is wrong
            note(config.hydra.run.dir)
