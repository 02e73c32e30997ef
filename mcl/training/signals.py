"""Stop signals: training finishes the current step, saves a checkpoint, and exits with a status of its own."""

import signal
import threading
import time
from types import FrameType
from typing import Any

# 75 is EX_TEMPFAIL of sysexits.h: try again. SIGUSR2: submitit lets Slurm send it before the time limit of a job.
EXIT_STATUS = {"SIGTERM": 75, "SIGUSR1": 75, "SIGUSR2": 75, "SIGINT": 130}


class Stopped(SystemExit):
    """A stop signal arrived. If not caught, the process exits with the status of that signal."""

    def __init__(self, name: str):
        super().__init__(EXIT_STATUS[name])
        self.name = name

    def __str__(self) -> str:
        return f"stopped by {self.name}"


class StopSignals:
    """Defer SIGTERM, SIGUSR1, SIGUSR2 and SIGINT (Ctrl-C), within a ``with`` block, to the next ``check``.

    A second signal ends even a process that hangs; a second Ctrl-C raises KeyboardInterrupt.

    Args:
        echo: seconds within which a repeated signal counts once: torchrun forwards signals that have already reached
            its processes.
    """

    def __init__(self, echo: float = 0.0) -> None:
        self.received: str | None = None
        self._echo = echo
        self._received_at = 0.0
        self._previous_handlers: dict[int, Any] = {}

    @property
    def number(self) -> int:
        """Number of the signal received; 0 if none."""
        return int(signal.Signals[self.received]) if self.received is not None else 0

    def check(self, number: int | None = None) -> None:
        """Raise ``Stopped`` if this process received a signal, or, given its ``number``, if another one did."""
        number = self.number if number is None else number
        if number:
            raise Stopped(signal.Signals(number).name)

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # only the main thread may set handlers
            for name in EXIT_STATUS:
                if hasattr(signal, name):  # Windows has no SIGUSR1
                    number = getattr(signal, name)
                    self._previous_handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first = self.received is None
        if first:
            self.received, self._received_at = signal.Signals(number).name, time.monotonic()
        if first and self._echo:
            return  # keep this handler, to ignore the echo
        for watched in self._previous_handlers:
            signal.signal(watched, signal.default_int_handler if watched == signal.SIGINT else signal.SIG_DFL)
        if not first and time.monotonic() - self._received_at > self._echo:
            signal.raise_signal(number)
