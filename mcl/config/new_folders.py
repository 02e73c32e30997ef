"""Remember the folders that Hydra creates for a job before the task starts."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

_added: set[Path] = set()


def note(folder: str | Path) -> None:
    """Remember which of a folder and those above it do not exist yet; call it before they are made."""
    path = Path(os.path.abspath(folder))
    for place in (path, *path.parents):
        if os.path.lexists(place):
            break
        _added.add(place)


def added_for(folder: Path) -> set[Path]:
    """Return those of a folder and the ones above it that did not exist when they were noted."""
    return _added.intersection((folder, *folder.parents))


class NoteNewFolders(Callback):
    """Note the folders that Hydra is about to make. Those of the jobs of a multirun are noted by ``${run_folder:}``."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Note the run folder."""
        with suppress(Exception):  # Hydra resolves it again and reports what is wrong
            note(config.hydra.run.dir)
