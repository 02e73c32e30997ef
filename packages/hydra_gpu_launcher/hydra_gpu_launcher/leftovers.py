"""Find processes left behind by a job, by an entry in their environment."""

import contextlib
import os
import signal
from pathlib import Path


def processes_with(entry: str) -> list[int]:
    """Return the processes of this user that were started with ``NAME=value`` in their environment.

    Children inherit it, in any session. Without ``/proc`` (macOS) the list is empty.
    """
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has exited, or belongs to another user
            if entry.encode() in (folder / "environ").read_bytes().split(b"\0"):
                processes.append(int(folder.name))
    return processes


def kill_all(processes: list[int]) -> None:
    """Send SIGKILL to each process."""
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
