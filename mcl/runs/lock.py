"""The lock of a run folder: one process at a time."""

import contextlib
import errno
import logging
import os
import socket
import time
from pathlib import Path

from mcl.errors import IN_USE, UserError
from mcl.files import write_error
from mcl.runs.layout import LOCK
from mcl.untrusted.text import printable

try:
    import fcntl
except ImportError:  # on Windows, nothing is locked
    fcntl = None  # type: ignore[assignment]

TRIES, PAUSE = 6, 0.05  # seconds between two tries: `holder` takes the lock for an instant
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

logger = logging.getLogger(__name__)


class InUse(UserError):
    """Another process works in the run folder; nothing was changed."""

    status = IN_USE


def holder(folder: Path) -> str | None:
    """Describe the process that works in a folder; None if there is none, or if locks are not supported."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK | _NO_LINK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two askers do not block each other
    except BlockingIOError:
        return _describe_holder(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _describe_holder(descriptor: int) -> str:
    return printable(os.pread(descriptor, 200, 0).decode(errors="replace")) or "another process"


class FolderLock:
    """A lock on a folder, held by the kernel until `release` or the end of the process, also by SIGKILL.

    The file ``lock`` names the holder. It is removed on release; one left behind by a killed process locks nothing.

    Args:
        folder: created if it does not exist.

    Raises:
        InUse: Another process holds the lock.
        UserError: The folder cannot be written to.
    """

    def __init__(self, folder: Path):
        self.path = folder / LOCK
        self._descriptor: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._acquire()
            holder = f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, holder.encode())
        except OSError as error:
            self.release()
            raise write_error(self.path, error) from error

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(self._descriptor), os.stat(self.path)):  # not the lock of another process
                    self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def _acquire(self) -> int:
        while True:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
            except FileNotFoundError:  # a process that failed has just removed the empty folder that it had created
                self.path.parent.mkdir(parents=True, exist_ok=True)
                continue
            try:
                self._lock(descriptor)
                # The previous holder may have removed the file opened here; then the path is free or another file.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        if fcntl is None:
            return
        for _ in range(TRIES):
            if self._try(descriptor):
                return
            time.sleep(PAUSE)
        raise InUse(
            f"{self.path.parent} is in use by {_describe_holder(descriptor)}: two processes cannot train in one run"
            " folder. Wait until it has ended, or choose another folder with hydra.run.dir=FOLDER."
        )

    def _try(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning(
                "%s: this file system has no locks, so make sure that only one process works here.", self.path
            )
        return True
