"""Cached folders: built once, by one process while others wait, aside and then renamed."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from mcl.errors import UserError

T = TypeVar("T")
log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where prepared data goes unless told otherwise: ``$MCL_CACHE``, or ``mcl`` in the platform's cache folder."""
    if given := os.environ.get("MCL_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mcl"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "mcl" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcl"


def load_or_build(folder: Path, read: Callable[[Path], T | None], build: Callable[[Path], None], *, option: str) -> T:
    """What ``read`` finds in ``folder``, which is built first if need be.

    Args:
        folder: where the data lives once prepared.
        read: gives the data, or None where the folder is missing or unusable.
        build: fills an empty folder; whatever it raises leaves nothing behind.
        option: the option that chooses another place, for the error message.

    Raises:
        UserError: when the place cannot be written to, or the disk is full.
    """
    found = read(folder)
    if found is not None:
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            found = read(folder)  # another process may have built it meanwhile
            if found is None:
                _build_aside(folder, build)
                found = read(folder)
    except OSError as error:
        raise UserError(f"Cannot prepare {folder}: {error}. Choose another place with {option}.") from error
    assert found is not None, f"{folder} cannot be read right after it was built"
    return found


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("Waiting for another process that prepares %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build_aside(folder: Path, build: Callable[[Path], None]) -> None:
    partial = folder.parent / f".{folder.name}.partial"  # one at a time, thanks to the lock
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    try:
        partial.mkdir()
        build(partial)
        for path in partial.rglob("*"):
            if path.is_file():
                _sync(path)
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename ``partial`` to ``folder``; where the user keeps other files in it, replace only those of the same name."""
    made = {path.name for path in partial.iterdir()}
    if folder.is_dir() and not made.issuperset(path.name for path in folder.iterdir()):
        for path in partial.iterdir():
            path.replace(folder / path.name)
        return
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def _sync(path: Path) -> None:
    """On the disk before the rename is: a power cut must not leave a folder of empty files."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
