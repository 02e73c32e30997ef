"""Clocks: calls timed in turns, and seconds by phase."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Return a function that waits for the device; a CPU needs no waiting."""
    return (lambda: None) if device.type == "cpu" else (lambda: torch.accelerator.synchronize(device))


def time_in_turns(
    calls: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    warm_up: int = 1,
    synchronize: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Time calls that take turns, so that a machine that becomes slower or faster does so for all of them.

    Args:
        calls: number of calls by name.
        repeats: measurements of each.
        warm_up: turns before them that do not count.
        synchronize: waits for the device, before and after each call.

    Returns:
        The seconds of each call, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-warm_up, repeats):
        for name, call in calls.items():
            synchronize()
            start = time.perf_counter()
            call()
            synchronize()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


class Stopwatch:
    """Seconds by phase. Entering a phase stops the clock of the phase around it, so nested phases are counted once.

    Args:
        synchronize: called before the clock is read.
        now: the clock, in seconds.
    """

    def __init__(self, synchronize: Callable[[], None], now: Callable[[], float] = time.perf_counter):
        self.synchronize = synchronize
        self._now = now
        self._seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._last_read = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block. Phases that were entered inside it and not left end with it."""
        depth = len(self._open)
        self.enter(name)
        try:
            yield
        finally:
            while len(self._open) > depth:
                self.leave()

    def enter(self, name: str) -> None:
        """Start the clock of a phase."""
        self._read_clock()
        self._open.append(name)

    def leave(self) -> None:
        """Return to the phase around the current one."""
        self._read_clock()
        self._open.pop()

    def inside(self, name: str) -> bool:
        """Return whether a phase is open."""
        return name in self._open

    def take(self) -> dict[str, float]:
        """Return the seconds by phase since the last call."""
        self._read_clock()
        seconds, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds

    def _read_clock(self) -> None:
        self.synchronize()
        now = self._now()
        if self._open:
            self._seconds[self._open[-1]] += now - self._last_read
        self._last_read = now
