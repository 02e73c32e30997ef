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

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

TRIES, PAUSE = 6, 0.05  # seconds between two tries: whoever asks for the holder has the lock for an instant
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

logger = logging.getLogger(__name__)


class InUse(UserError):
    """Another process works in the folder. Nothing was done; later it may be free."""

    status = IN_USE


def holder(folder: Path) -> str | None:
    """Who works in a folder, in words; None for nobody, and where nothing can be locked."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that ask are not in each other's way
    except BlockingIOError:
        return _words(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _words(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"


class FolderLock:
    """The file ``lock`` of a folder, held by the kernel for this process: it ends with the process, however that ends.

    The file says who holds it. It is removed on release; one that a killed process left behind locks nothing.

    Args:
        folder: made if need be.

    Raises:
        InUse: another process holds the lock.
        UserError: the folder cannot be written to.
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
        """Let others in; again is harmless."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _acquire(self) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._lock(descriptor)
                # The holder before may have removed the file that was opened here; then the name stands for another.
                if self.path.exists() and os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
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
            f"{self.path.parent} is in use by {_words(descriptor)}: two processes cannot train in one run folder. Wait"
            " until it has ended, or choose another folder with hydra.run.dir=FOLDER."
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
                "%s: this file system has no locks, so make sure yourself that one process works here.", self.path
            )
        return True
