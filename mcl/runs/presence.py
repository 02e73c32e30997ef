"""Notice that the run folder, or a file in it, was removed or replaced while the run works."""

import os
from pathlib import Path

from mcl.errors import UserError


class FolderGone(UserError):
    """The run folder was removed, moved or replaced while the run worked in it; nothing more is written."""


class Presence:
    """The identity of a file or folder, taken once and compared before each write.

    Args:
        path: must exist.
        descriptor: of the open file; None to take the identity of what the path names now.
    """

    def __init__(self, path: Path, descriptor: int | None = None):
        self.path = path
        self._identity = _identity(os.stat(path) if descriptor is None else os.fstat(descriptor))

    def check(self) -> None:
        """Raise FolderGone unless the path still names the same file or folder."""
        if self.lost():
            raise FolderGone(
                f"{self.path} was removed, moved or replaced while the run worked in it, so the run stops here: what it"
                " writes would be lost, or mixed with other files. Move the folder back and run the same command again"
                " to resume from its last checkpoint; without it, the command starts over."
            )

    def lost(self) -> bool:
        """Return whether the path no longer names the same file or folder."""
        try:
            return _identity(os.stat(self.path)) != self._identity
        except FileNotFoundError:
            return True
        except OSError:  # a network file system that does not answer: the write itself reports it
            return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
