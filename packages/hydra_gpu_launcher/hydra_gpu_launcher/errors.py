"""Errors, and the exit statuses on which the launcher and its jobs agree."""

import re

IN_USE = 69  # EX_UNAVAILABLE of sysexits.h: another process works in the folder of the job
OUT_OF_MEMORY = 71  # EX_OSERR: the device, or the machine, has no memory left
STOPPED = 75  # EX_TEMPFAIL: stopped by a signal; it can be started again
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED", re.IGNORECASE)


class LauncherError(ValueError):
    """Invalid input, or jobs that failed. The message says in one line what was given and what is allowed."""


class Stopped(SystemExit):
    """A stop signal other than Ctrl-C arrived. If not caught, the process exits with the status `STOPPED`."""

    def __init__(self, name: str):
        super().__init__(STOPPED)
        self.name = name


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and its chain of causes and contexts, back to the first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on a device (``torch.OutOfMemoryError``) or on the machine."""
    return any(
        isinstance(cause, MemoryError) or (isinstance(cause, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(cause))))
        for cause in causes(error)
    )
