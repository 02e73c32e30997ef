"""Seconds by phase; nested phases are counted once."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def synchronizer(device: torch.device) -> Callable[[], None]:
    """What waits until the device has done all it was told; nothing on a CPU, which does it at once."""
    return (lambda: None) if device.type == "cpu" else (lambda: torch.accelerator.synchronize(device))


class Stopwatch:
    """One phase runs at a time: entering another one stops the clock of the phase around it.

    Args:
        synchronize: called before the clock is read.
        now: the clock, in seconds.
    """

    def __init__(self, synchronize: Callable[[], None], now: Callable[[], float] = time.perf_counter):
        self.synchronize = synchronize
        self._now = now
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._read = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block. Phases that were entered inside and not left end with it."""
        depth = len(self._open)
        self.enter(name)
        try:
            yield
        finally:
            while len(self._open) > depth:
                self.leave()

    def enter(self, name: str) -> None:
        """The clock runs for ``name`` from here on."""
        self._charge()
        self._open.append(name)

    def leave(self) -> None:
        """Back to the phase around the present one."""
        self._charge()
        self._open.pop()

    def inside(self, name: str) -> bool:
        """Whether a phase is open."""
        return name in self._open

    def take(self) -> dict[str, float]:
        """Seconds by phase since the last call."""
        self._charge()
        taken, self.seconds = dict(self.seconds), defaultdict(float)
        return taken

    def _charge(self) -> None:
        self.synchronize()
        now = self._now()
        if self._open:
            self.seconds[self._open[-1]] += now - self._read
        self._read = now
