"""Atomic writes: a file is whole or absent."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mcl.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write to, which becomes ``path`` when the block ends well and leaves no trace when it does not.

    Until then a file that was at ``path`` stays as it was, whenever the process or the machine stops. There may be one
    writer at a time.

    >>> with atomic_file("last.pt") as file:  # doctest: +SKIP
    ...     torch.save(state, file)

    Args:
        path: where the file belongs; its folder must exist. The file aside is ``path`` + ``.tmp``, in the same folder.

    Raises:
        UserError: if the file cannot be written, for example because the disk is full.
    """
    path = Path(path)
    aside = path.with_name(path.name + ".tmp")
    try:
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            _sync_folder(path.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except Exception as error:
        if (reason := _os_error(error)) is None:
            raise
        raise write_error(path, reason) from error


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write ``content`` (text as UTF-8) to ``path`` so that a reader finds the old file or the new one, never a part.

    Raises:
        UserError: if the file cannot be written, for example because the disk is full.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_error(path: str | os.PathLike[str], error: OSError) -> UserError:
    """What to tell the user when ``path`` cannot be written."""
    remedy = "Free some space there" if error.errno in _FULL else "See that the folder exists and can be written to"
    return UserError(
        f"Cannot write {path}: {error.strerror or error}. {remedy}, then type the same command again to go on; "
        "or choose another folder with hydra.run.dir=FOLDER."
    )


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
