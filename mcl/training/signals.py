"""Stop signals: training finishes the current step, saves, and exits with a status of its own."""

import signal
import threading
import time
from types import FrameType
from typing import Any

# 75 is EX_TEMPFAIL of sysexits.h: try again. SIGUSR2 is what submitit has Slurm send before the limit of a job.
EXIT_STATUS = {"SIGTERM": 75, "SIGUSR1": 75, "SIGUSR2": 75, "SIGINT": 130}


class Stopped(SystemExit):
    """A signal asked to stop. Whoever does not catch it leaves with the exit status of that signal."""

    def __init__(self, name: str):
        super().__init__(EXIT_STATUS[name])
        self.name = name

    def __str__(self) -> str:
        return f"stopped by {self.name}"


class StopSignals:
    """Turns SIGTERM, SIGUSR1, SIGUSR2 and SIGINT (Ctrl-C) into a wish that ``check`` hears; a second one stops at once.

    Outside a ``with`` block nothing is watched and ``check`` does nothing. A second one ends the process by the kernel,
    even one that hangs; a second Ctrl-C raises KeyboardInterrupt.

    Args:
        echo: seconds in which the same signal may come again and still count once: whoever starts several processes
            hands on a signal that has reached them already.
    """

    def __init__(self, echo: float = 0.0) -> None:
        self.received: str | None = None
        self._echo = echo
        self._heard = 0.0
        self._before: dict[int, Any] = {}

    @property
    def number(self) -> int:
        """Of the signal that came; 0 for none."""
        return int(signal.Signals[self.received]) if self.received is not None else 0

    def check(self, number: int | None = None) -> None:
        """Raise ``Stopped`` if a signal came, here or (its ``number``) somewhere else."""
        number = self.number if number is None else number
        if number:
            raise Stopped(signal.Signals(number).name)

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # nobody else may set handlers
            for name in EXIT_STATUS:
                if hasattr(signal, name):  # Windows has no SIGUSR1
                    number = getattr(signal, name)
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first = self.received is None
        if first:
            self.received, self._heard = signal.Signals(number).name, time.monotonic()
        if first and self._echo:
            return  # this handler stays, for the echo
        for watched in self._before:
            signal.signal(watched, signal.default_int_handler if watched == signal.SIGINT else signal.SIG_DFL)
        if not first and time.monotonic() - self._heard > self._echo:
            signal.raise_signal(number)
