"""Atomic writes: a file is complete or absent."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mcl.errors import UserError


class WriteError(UserError):
    """A file cannot be written."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def expand_home(path: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder in place of ``~``; the home of an unknown user stays as it is."""
    return Path(os.path.expanduser(path))


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary binary file that replaces ``path`` when the block succeeds and is removed when it fails.

    Until then an existing file at ``path`` stays intact, even if the process or the machine stops. Of two processes
    that write at the same time, the first fails.

    >>> with atomic_file("last.pt") as file:  # doctest: +SKIP
    ...     torch.save(state, file)

    Args:
        path: the file to write; its folder must exist. The temporary file is ``path`` + ``.tmp``, always a new file.

    Raises:
        UserError: The file cannot be written, for example because the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    own: os.stat_result | None = None  # of the temporary file, which another process may have replaced
    try:
        try:
            with open(temporary, "xb", opener=_new_file) as file:
                own = os.fstat(file.fileno())
                yield file
                file.flush()
                os.fsync(file.fileno())
            if not _is_file(temporary, own):
                raise WriteError(f"{path} is being written by another process. Wait for it, then try again.")
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            if own is not None and _is_file(temporary, own):
                temporary.unlink(missing_ok=True)
            raise
    except Exception as error:
        if (reason := _os_error(error)) is None:
            raise
        raise write_error(path, reason) from error


def _is_file(path: Path, status: os.stat_result) -> bool:
    """Return whether a path names the file of this status."""
    try:
        return os.path.samestat(os.stat(path), status)
    except FileNotFoundError:
        return False


def _new_file(path: str, flags: int) -> int:
    """Open a temporary file that did not exist. One left by a killed process is removed, a link without following it.

    ``flags`` include ``O_EXCL``.
    """
    flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags, 0o666)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, flags, 0o666)


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write ``content`` (text as UTF-8) to ``path`` ; readers find the old file or the new one.

    Raises:
        UserError: The file cannot be written, for example because the disk is full.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, as far as they do not exist.

    Raises:
        UserError: The folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error


def write_error(path: str | os.PathLike[str], error: OSError) -> UserError:
    """Return the error for the user when ``path`` cannot be written."""
    remedy = "Free some space there" if error.errno in _FULL else "See that the folder exists and can be written to"
    return WriteError(f"Cannot write {path}: {error.strerror or error}. {remedy}, then run the same command again.")


def _os_error(error: BaseException | None) -> OSError | None:
    # torch.save reports a failed write as a RuntimeError of its own, raised while the OSError was being handled.
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut. Windows neither needs nor allows it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
