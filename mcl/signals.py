"""Stop signals: from the first line of a program to its last end, they stop it in order, with a status of its own.

Entry points call `catch_stop_signals` first. This file therefore imports nothing slow.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, TextIO

from mcl.torchrun import rank, world_size

# 75 is EX_TEMPFAIL of sysexits.h: try again. SIGHUP: the terminal was closed. SIGUSR2: submitit lets Slurm send it
# before the time limit of a job.
EXIT_STATUS = {"SIGTERM": 75, "SIGHUP": 75, "SIGUSR1": 75, "SIGUSR2": 75, "SIGINT": 130}
ECHO = 0.5  # seconds within which signals count as one: a terminal or a scheduler may send several at once
SEVERAL = 2.0  # the same for several processes: torchrun forwards signals that have already reached its processes


class Stopped(SystemExit):
    """A stop signal arrived. If not caught, the process exits with the status of that signal."""

    def __init__(self, name: str):
        super().__init__(EXIT_STATUS[name])
        self.name = name

    def __str__(self) -> str:
        return f"stopped by {self.name}"


class StopSignals:
    """Handle the signals of `EXIT_STATUS` from `install` to `uninstall`.

    What the first one does depends on the moment:

    - within a ``with`` block, nothing until the next `check`, or the end of the block;
    - else, while `at_once` is set, or in an import (where exceptions can get lost), the process calls `cleanups` and
      exits;
    - else, it raises `Stopped`.

    Signals of the next ``echo`` seconds count as the same. A later one ends even a process that hangs; a later Ctrl-C
    raises KeyboardInterrupt.

    Attributes:
        received: name of the first signal; None before it.
        at_once: whether nothing has begun, or everything has ended.
        cleanups: called by `clean_up` and before an exit at once, the last one first.
        echo: seconds within which signals count as one.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.received: str | None = None
        self.at_once = at_once
        self.cleanups: list[Callable[[], object]] = []
        self.echo = SEVERAL if world_size() > 1 else ECHO
        self._received_at = 0.0
        self._deferred = 0  # with blocks entered
        self._second: threading.Timer | None = None  # lets the next signal kill the process
        self._installed = 0
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

    def install(self) -> None:
        """Set the handlers; only the main thread may. Each call needs one of `uninstall`."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._installed += 1
        for name in EXIT_STATUS if self._installed == 1 else ():
            if hasattr(signal, name):  # Windows has no SIGUSR1
                number = getattr(signal, name)
                if name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                    self._previous_handlers[number] = signal.signal(number, self._receive)

    def uninstall(self) -> None:
        """Restore the handlers that the first `install` found."""
        if not self._installed or threading.current_thread() is not threading.main_thread():
            return
        self._installed -= 1
        if not self._installed:
            self._cancel()
            for number, handler in self._previous_handlers.items():
                signal.signal(number, handler)
            self._previous_handlers.clear()

    def ignore(self) -> None:
        """Ignore further signals: only the interpreter's own end is left, and it would restore the default actions."""
        self._cancel()
        for number in self._previous_handlers:
            signal.signal(number, signal.SIG_IGN)

    def clean_up(self) -> None:
        """Call the cleanups, each once."""
        while self.cleanups:
            self.cleanups.pop()()

    def __enter__(self) -> "StopSignals":
        self._deferred += 1
        self.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.uninstall()
        self._deferred -= 1
        if kind is None and not self._deferred:
            self.check()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._received_at = signal.Signals(number).name, time.monotonic()
            deadly = [watched for watched in self._previous_handlers if watched != signal.SIGINT]
            self._second = threading.Timer(self.echo, _restore_default_actions, [deadly])
            self._second.daemon = True
            self._second.start()
            if not self._deferred:
                if self.at_once or _in_import(frame):
                    self._exit()
                raise Stopped(self.received)
        elif number == signal.SIGINT and time.monotonic() - self._received_at > self.echo:
            raise KeyboardInterrupt

    def _cancel(self) -> None:
        if self._second is not None:
            self._second.cancel()

    def _exit(self) -> None:
        assert self.received is not None
        with suppress(Exception):
            self.clean_up()
        with suppress(Exception):
            sys.stdout.flush()
        if rank() == 0:
            with suppress(OSError):  # the terminal is gone
                os.write(2, f"\nStopped by {self.received}.\n".encode())
        os._exit(EXIT_STATUS[self.received])


def report_stop(stop: Stopped, more: str = "") -> None:
    """Print which signal stopped the program, unless its terminal is gone; then nothing is printed any more."""
    _write(sys.stdout, "")
    _write(sys.stderr, f"\nStopped by {stop.name}.{more}\n")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError:  # also at exit, where it would change the status
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_of_program: StopSignals | None = None


def catch_stop_signals() -> StopSignals:
    """Handle stop signals until the end of this program: until a run begins, they end it at once."""
    global _of_program
    if _of_program is None:
        _of_program = StopSignals(at_once=True)
        atexit.register(_of_program.ignore)  # the first one registered is the last one called
        _of_program.install()
    return _of_program


def program_signals() -> StopSignals:
    """Return what `catch_stop_signals` installed; new ones in a program that does not call it, such as a test."""
    return _of_program or StopSignals()


def _restore_default_actions(numbers: list[int]) -> None:
    """Let these signals kill the process even if its main thread hangs in C code, where no Python handler runs."""
    import ctypes  # slow to import, and rarely needed

    with suppress(Exception):  # Windows
        libc = ctypes.CDLL(None)
        libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        for number in numbers:
            libc.signal(number, None)  # SIG_DFL is 0


def _in_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
