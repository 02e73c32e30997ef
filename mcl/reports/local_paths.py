"""Paths in a report that leave this machine out: a report is read by others, too."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mcl.console import display_path
from mcl.runs.reading import Run

_ABSOLUTE = re.compile(  # /home/me/data or C:\Users\me\data, but not http://host/a or images/s
    r"(?<![\w.:/<&])(?:[A-Za-z]:\\[^\s'\"`,;|()<>]+|(?:/[^\s/'\"`,;:|()<>]+){2,}/?)"
)


def portable_path(path: Path) -> str:
    """Return a path relative to the working directory; of a path elsewhere only its last part."""
    shown = display_path(path)
    return Path(shown).name if Path(shown).is_absolute() else shown


def without_local_paths(value: Any) -> Any:
    """Return text, or all text in lists and dictionaries, with absolute paths cut down to their last part."""
    if isinstance(value, str):
        return _ABSOLUTE.sub(lambda match: "…/" + match[0].replace("\\", "/").rstrip("/").rpartition("/")[2], value)
    if isinstance(value, dict):
        return {key: without_local_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_local_paths(item) for item in value]
    return value


def name_folders(runs: Iterable[Run]) -> None:
    """Let reports name the folders of runs outside the working directory by their place among these runs."""
    outside = [run for run in runs if Path(display_path(run.shown_folder)).is_absolute()]
    if outside:
        common = Path(os.path.commonpath([run.shown_folder.absolute().parent for run in outside]))
        for run in outside:
            run.shown_folder = common.name / run.shown_folder.absolute().relative_to(common)
