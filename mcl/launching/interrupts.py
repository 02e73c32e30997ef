"""Ctrl-C, SIGTERM and SIGHUP to the launcher: counted here, handled by its loop."""

import signal
import threading
import time
from types import FrameType
from typing import Any

ECHO = 0.5  # seconds in which more of them count as one: a terminal or a scheduler may send several at once
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupts:
    """In a ``with`` block these signals do nothing but count."""

    def __init__(self) -> None:
        self.count = 0
        self.first: str | None = None
        self._last = -ECHO
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():  # nobody else may set handlers
            for name in _NAMES:
                number = getattr(signal, name)
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
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
