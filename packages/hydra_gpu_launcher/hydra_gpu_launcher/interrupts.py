"""Stop signals to the launcher: counted here, handled by its loop."""

import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT")
ECHO = 0.5  # seconds within which signals count as one: a terminal or a scheduler may send several at once


class Interrupts:
    """Counts these signals inside a ``with`` block; nothing else happens."""

    def __init__(self) -> None:
        self.count = 0
        self.first: str | None = None
        self._last = -ECHO
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():  # only it may set handlers
            for name in SIGNALS:
                number = getattr(signal, name)
                if name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last >= ECHO:
            self.count += 1
        self._last = now
        self.first = self.first or signal.Signals(number).name
