"""Cached folders: each is built once, in a temporary folder, by one process while others wait, and then renamed."""

import logging
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from mcl.errors import UserError
from mcl.files import expand_home

T = TypeVar("T")
log = logging.getLogger(__name__)


def cache_folder(choice: str | None = None) -> Path:
    """Return the folder of prepared data: ``choice``, ``$MCL_CACHE``, or ``mcl`` in the platform's cache folder."""
    if choice := choice or os.environ.get("MCL_CACHE"):
        return expand_home(choice)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mcl"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "mcl" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcl"


def load_or_build(folder: Path, read: Callable[[Path], T | None], build: Callable[[Path], None], *, option: str) -> T:
    """Read the data in ``folder``, which is built first if necessary.

    Args:
        folder: location of the data.
        read: returns the data, or None if the folder is missing or unusable.
        build: fills an empty folder. If it raises, nothing is left behind.
        option: the option that chooses another location, for the error message.

    Raises:
        UserError: The location is not writable, or the disk is full.
    """
    data = read(folder)
    if data is not None:
        return data
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            data = read(folder)  # another process may have built it in the meantime
            if data is None:
                _build_aside(folder, build)
                data = read(folder)
    except OSError as error:
        raise UserError(f"Cannot prepare {folder}: {error}. Choose another location with {option}.") from error
    assert data is not None, f"{folder} cannot be read right after it was built"
    return data


def _lock(folder: Path) -> AbstractContextManager[object]:
    """Wait until no other process prepares ``folder``."""
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        log.warning("Waiting for another process to prepare %s", folder)
        return lock.acquire()


def _build_aside(folder: Path, build: Callable[[Path], None]) -> None:
    partial = folder.parent / f".{folder.name}.partial"  # the lock admits one process at a time
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    try:
        partial.mkdir()
        build(partial)
        for path in partial.rglob("*"):
            if path.is_file():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())  # before the rename: a power cut must not leave a folder of empty files
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename ``partial`` to ``folder``. If the user keeps other files there, replace only those of the same name."""
    built = {path.name for path in partial.iterdir()}
    if folder.is_dir() and not built.issuperset(path.name for path in folder.iterdir()):
        for path in partial.iterdir():
            path.replace(folder / path.name)
        return
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
