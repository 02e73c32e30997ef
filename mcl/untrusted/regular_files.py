"""Open files of a received folder: regular files of limited size, and no link that leads out of the folder."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mcl.errors import UserError
from mcl.untrusted.text import printable

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_file(path: Path, limit: int) -> BinaryIO:
    """Open a regular file for reading. A pipe or a device does not block: it is refused.

    Raises:
        UserError: It is not a regular file, or has more than ``limit`` bytes.
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, _FLAGS)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= limit:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)  # os.fdopen would leave that of a folder open
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{printable(path)} is not a file.")
    raise UserError(f"{printable(path)} has {status.st_size:,} bytes, and at most {limit:,} are read.")


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file; raises as `open_file` does."""
    with open_file(path, limit) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)  # read(limit + 1) would allocate as much, whatever the file has
    if len(content) > size:
        raise UserError(f"{printable(path)} grows while it is read.")
    return content


def refuse_outside_links(folder: Path, names: Iterable[str]) -> None:
    """Raise UserError if one of these entries of a folder, or anything inside one, is a link that leads elsewhere.

    Args:
        folder: may be a link itself, since the user typed it.
        names: of the entries that are read or written.
    """
    root = folder.resolve()
    entries = [folder / name for name in names]
    for path in [*entries, *_links(entries)]:
        if not _target(path).is_relative_to(root):
            raise UserError(
                f"{printable(path)} is a link that leads out of {printable(folder)}: reading or writing there would"
                " touch other files. Replace the link by what it leads to."
            )


def _links(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            for parent, folders, files in os.walk(path):  # follows no link
                yield from (entry for name in (*folders, *files) if (entry := Path(parent, name)).is_symlink())


def _target(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # a loop of links leads nowhere
        return Path(os.sep)
