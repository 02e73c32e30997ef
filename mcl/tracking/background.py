"""Forward calls to a slow tracker, in order, from a background thread."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import Any

from mcl.tracking.tracker import RunInfo, Snapshot, Status, Tracker

MOST_WAITING = 10_000  # calls; whoever is so far behind has stopped
SILENT_SECONDS = 10.0  # of these, before it is said
FINISH_SECONDS = 150.0  # how long to wait for what is left to tell at the end


class Background(Tracker):
    """Another tracker, to which every call gets in order, but later: training waits for it only at the end.

    What it raises comes out of the next call here. Nothing is told to it after that.

    Args:
        tracker: the other one.

    Raises:
        TimeoutError: it does not keep up, or has not finished ``FINISH_SECONDS`` after it was asked to.
    """

    def __init__(self, tracker: Tracker):
        self.tracker = tracker
        self.name = tracker.name
        self._calls: Queue[Callable[[], None] | None] = Queue()  # no put ever waits
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self, run: RunInfo) -> None:
        # A daemon, so that one that hangs does not keep the process.
        self._thread = threading.Thread(target=self._work, name=f"tracking by {self.name}", daemon=True)
        self._thread.start()
        self._tell(lambda: self.tracker.start(run))

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        kept = dict(metrics)
        self._tell(lambda: self.tracker.log(kept, step=step, epoch=epoch))

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        return self._error is None and self.tracker.wants_snapshot(run, epoch)

    def snapshot(self, snapshot: Snapshot) -> None:
        self._tell(lambda: self.tracker.snapshot(snapshot))

    def keep(self, files: Sequence[Path]) -> None:
        self._tell(lambda: self.tracker.keep(files))

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

    def _tell(self, call: Callable[[], None]) -> None:
        self._raise()
        if self._calls.qsize() >= MOST_WAITING:
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
