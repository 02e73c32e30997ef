"""Forward calls to a slow tracker, in order, from a background thread."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Queue
from time import monotonic
from typing import Any

from mcl.console import pluralize
from mcl.tracking.tracker import Histogram, IncompleteTracking, RunInfo, Snapshot, Status, Tracker

MAX_WAITING = 50_000  # calls in the queue, some 200 MB; a tracker so far behind has stopped
PATIENCE_SECONDS = 600.0  # of waiting at the end without any progress
FIRST_LINE_SECONDS, LINE_SECONDS = 5.0, 15.0  # of waiting at the end, to the first line and between two

logger = logging.getLogger(__name__)


class Background(Tracker):
    """A tracker that forwards calls, in order, from a background thread. Training waits for it only at the end.

    The end waits until all calls are forwarded, as long as there is progress, and prints how many rows are left. An
    exception of the other tracker is raised by the next call here, and no further calls are forwarded.

    Args:
        tracker: the other tracker.

    Raises:
        IncompleteTracking: The other tracker failed, does not keep up, or makes no progress for ``PATIENCE_SECONDS`` at
            the end. The message names the rows that it lacks.
    """

    def __init__(self, tracker: Tracker):
        self.tracker = tracker
        self.name = tracker.name
        self._calls: Queue[Callable[[], None] | None] = Queue()  # unbounded: put never waits
        self._rows: deque[int] = deque()  # steps of the rows that are not yet written
        self._calls_done = 0
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        self._left_behind = False  # nothing waits for the thread any more

    def start(self, run: RunInfo) -> None:
        # A daemon thread: if it hangs, the process can still end.
        self._thread = threading.Thread(target=self._work, name=f"tracking by {self.name}", daemon=True)
        self._thread.start()
        self._forward(lambda: self.tracker.start(run))

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        copy = dict(metrics)

        def write() -> None:
            self.tracker.log(copy, step=step, epoch=epoch)
            self._rows.popleft()

        self._rows.append(step)
        self._forward(write)

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        return self._error is None and self.tracker.wants_snapshot(run, epoch)

    def snapshot(self, snapshot: Snapshot) -> None:
        self._forward(lambda: self.tracker.snapshot(snapshot))

    def wants_gradients(self, run: RunInfo, epoch: int) -> bool:
        return self._error is None and self.tracker.wants_gradients(run, epoch)

    def gradients(self, histograms: Mapping[str, Histogram]) -> None:
        self._forward(lambda: self.tracker.gradients(histograms))

    def keep(self, files: Sequence[Path]) -> None:
        self._forward(lambda: self.tracker.keep(files))

    def reached(self, step: int) -> None:
        self._forward(lambda: self.tracker.reached(step))

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._thread is None or self._left_behind:
            return
        self._raise(self._lost_rows)
        self._calls.put(lambda: self.tracker.finish(status, summary, error))
        self._calls.put(None)
        try:
            self._wait(self._thread)
        except KeyboardInterrupt:
            self._left_behind = True
            logger.warning("%s: interrupted before its end.%s", self.name, self._lost_rows())
            raise
        self._raise(self._lost_rows)

    def _forward(self, call: Callable[[], None]) -> None:
        self._raise(self._rows_to_come)
        if self._calls.qsize() >= MAX_WAITING:
            raise IncompleteTracking(f"It is {pluralize(MAX_WAITING, 'call')} behind training.{self._rows_to_come()}")
        self._calls.put(call)

    def _wait(self, thread: threading.Thread) -> None:
        """Wait for the end of the thread, and print what is left to do."""
        calls_done, now = self._calls_done, monotonic()
        last_progress, next_line = now, now + FIRST_LINE_SECONDS
        while thread.is_alive():
            thread.join(max(0.0, min(next_line, last_progress + PATIENCE_SECONDS) - now))
            now = monotonic()
            if self._calls_done > calls_done:
                calls_done, last_progress = self._calls_done, now
            elif thread.is_alive() and now >= last_progress + PATIENCE_SECONDS:
                self._left_behind = True
                raise IncompleteTracking(f"No progress for {PATIENCE_SECONDS:g} s.{self._lost_rows()}")
            if thread.is_alive() and now >= next_line:
                rows_left = f"{pluralize(len(self._rows), 'row')} left to write"
                print(f"{self.name}: {rows_left if self._rows else 'finishing'}", flush=True)
                next_line = now + LINE_SECONDS

    def _raise(self, missing: Callable[[], str]) -> None:
        if self._error is not None:
            reason = " ".join(f"{type(self._error).__name__}: {self._error}".split()).rstrip(".: ")
            raise IncompleteTracking(f"It failed with {reason}.{missing()}") from self._error

    def _rows_to_come(self) -> str:
        """Return a sentence on the rows that will be missing if nothing is written from now on."""
        first = next(iter(list(self._rows)), None)
        return "" if first is None else f" It lacks all rows from step {first:,} on; metrics.jsonl has them."

    def _lost_rows(self) -> str:
        """Return a sentence on the rows that are not written; empty if there are none."""
        steps = list(self._rows)
        if not steps:
            return ""
        place = f"from step {steps[0]:,} to step {steps[-1]:,}" if steps[0] < steps[-1] else f"of step {steps[0]:,}"
        return f" It lacks {pluralize(len(steps), 'row')} {place}; metrics.jsonl has them."

    def _work(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                call()
                self._calls_done += 1
        except Exception as error:
            with suppress(Exception):
                self.tracker.abandon()
            self._error = error
