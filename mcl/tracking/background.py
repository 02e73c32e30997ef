"""Forward calls to a slow tracker, in order, from a background thread."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import Any

from mcl.tracking.tracker import RunInfo, Snapshot, Status, Tracker

MAX_WAITING = 10_000  # calls in the queue; a tracker so far behind has stopped
SILENT_SECONDS = 10.0  # waiting time at the end before a message is printed
FINISH_SECONDS = 150.0  # waiting time at the end for the remaining calls


class Background(Tracker):
    """A tracker that forwards calls, in order, from a background thread. Training waits for it only at the end.

    An exception of the other tracker is raised by the next call here, and no further calls are forwarded.

    Args:
        tracker: the other tracker.

    Raises:
        TimeoutError: The other tracker does not keep up, or takes longer than ``FINISH_SECONDS`` to finish.
    """

    def __init__(self, tracker: Tracker):
        self.tracker = tracker
        self.name = tracker.name
        self._calls: Queue[Callable[[], None] | None] = Queue()  # unbounded: put never waits
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self, run: RunInfo) -> None:
        # A daemon thread: if it hangs, the process can still end.
        self._thread = threading.Thread(target=self._work, name=f"tracking by {self.name}", daemon=True)
        self._thread.start()
        self._forward(lambda: self.tracker.start(run))

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        copy = dict(metrics)
        self._forward(lambda: self.tracker.log(copy, step=step, epoch=epoch))

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        return self._error is None and self.tracker.wants_snapshot(run, epoch)

    def snapshot(self, snapshot: Snapshot) -> None:
        self._forward(lambda: self.tracker.snapshot(snapshot))

    def keep(self, files: Sequence[Path]) -> None:
        self._forward(lambda: self.tracker.keep(files))

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._thread is None:
            return
        self._raise()
        self._calls.put(lambda: self.tracker.finish(status, summary, error))
        self._calls.put(None)
        self._thread.join(min(SILENT_SECONDS, FINISH_SECONDS))
        if self._thread.is_alive() and FINISH_SECONDS > SILENT_SECONDS:
            print(f"{self.name}: finishing, for up to {FINISH_SECONDS:g} s", flush=True)
            self._thread.join(FINISH_SECONDS - SILENT_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError(f"not finished after {FINISH_SECONDS:g} s")
        self._raise()

    def _forward(self, call: Callable[[], None]) -> None:
        self._raise()
        if self._calls.qsize() >= MAX_WAITING:
            raise TimeoutError("it does not keep up with training")
        self._calls.put(call)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                call()
        except Exception as error:
            with suppress(Exception):
                self.tracker.abandon()
            self._error = error
