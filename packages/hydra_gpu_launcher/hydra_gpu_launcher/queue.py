"""The queue: which job runs when and where, what follows its end, and how all jobs are stopped."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hydra_gpu_launcher.admission import Admission
from hydra_gpu_launcher.attempt import Attempt
from hydra_gpu_launcher.board import Board
from hydra_gpu_launcher.errors import IN_USE, OUT_OF_MEMORY, STOPPED, LauncherError, Stopped
from hydra_gpu_launcher.gpu_monitor import GpuMonitor
from hydra_gpu_launcher.interrupts import Interrupts
from hydra_gpu_launcher.job import Job, Outcome, Status
from hydra_gpu_launcher.launch_options import Options
from hydra_gpu_launcher.slots import Slot

TICK = 0.1  # seconds between two checks of the running jobs
ASK_AGAIN = 3.0  # seconds between two checks of a folder that is in use elsewhere
LOST_RACES = 5  # times in a row that a job may find its folder in use although no process holds it; then it has failed
MAX_REQUEUED = 100  # times that the exit status of a job may put it back: it may always exit with that status
LISTED = 8  # failed jobs listed in the error message


class Source(Protocol):
    """Where further jobs come from, one at a time, when a slot is free."""

    def next(self) -> Job | None:
        """Return the next job; None if there is none now. After the end of a job, there may be one again."""

    def ended(self, outcome: Outcome) -> None:
        """Take the outcome of one of its jobs. An exception stops the others."""


class JobQueue:
    """Run jobs in slots, one job per slot at a time, until all have ended.

    However this process ends, its jobs are asked to save and exit, and none is left behind.

    Args:
        jobs: jobs in starting order. Jobs with the same folder run once.
        slots: slots to use, at least one.
        options: options of the launcher.
        board: displays what happens.
        monitor: reads the usage of the GPUs, if the options need it.
        source: further jobs, which are asked for when slots are free.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        slots: Sequence[Slot],
        options: Options,
        board: Board,
        monitor: GpuMonitor | None = None,
        source: Source | None = None,
    ):
        unique = {job.folder.absolute(): job for job in reversed(jobs)}
        self.outcomes = [Outcome(job) for job in reversed(unique.values())]
        self._by_folder = {outcome.job.folder.absolute(): outcome for outcome in self.outcomes}
        self._slots = list(slots)
        self._options = options
        self._board = board
        self._admission = Admission(options, monitor)
        self._source = source
        self._queue: list[Outcome] = []
        self._running: dict[Attempt, Outcome] = {}
        self._ask_at: dict[int, float] = {}  # id of an outcome whose folder is in use -> time of the next check
        self._lost_races: dict[int, int] = {}  # id of an outcome -> see LOST_RACES
        self._stopping = False
        self._interrupts = Interrupts()

    def run(self) -> None:
        """Run every unfinished job. Afterwards, see `outcomes`, `outcome` and `failure`.

        Raises:
            KeyboardInterrupt: after Ctrl-C; every job has saved and exited.
            Stopped: the same after another stop signal, whose name it has.
        """
        for outcome in self.outcomes:
            self._check_finished(outcome, "done before")
        self._queue = [outcome for outcome in self.outcomes if not outcome.finished]
        self._board.begin(self.outcomes, [slot.device for slot in self._slots], more=self._source is not None)
        try:
            with self._interrupts, tempfile.TemporaryDirectory(prefix="gpu-launcher-") as folder:
                try:
                    self._refill()
                    while self._running or (self._queue and not self._stopping):
                        self._handle_interrupts()
                        for note in self._admission.update(self._running):
                            self._board.note(note)
                        self._fill_slots(Path(folder))
                        self._board.update(self._running)
                        time.sleep(TICK)
                        self._collect()
                        self._refill()
                finally:
                    self._stop_leftovers()
        finally:
            for outcome in self.outcomes:
                if outcome.status in ("waiting", "held", "running"):
                    outcome.status, outcome.reason = "stopped" if outcome.attempts else "not started", ""
            self._board.end(self.outcomes)
        if self._source is None and all(outcome.finished for outcome in self.outcomes):
            return  # a signal came too late to matter; a source may have further jobs
        if self._interrupts.first == "SIGINT":
            raise KeyboardInterrupt
        if self._interrupts.first is not None:
            raise Stopped(self._interrupts.first)

    def outcome(self, job: Job) -> Outcome:
        """Return the state of a job."""
        return self._by_folder[job.folder.absolute()]

    def failure(self) -> LauncherError | None:
        """Return the error to report if a job has failed or was stopped."""
        failed = [outcome for outcome in self.outcomes if outcome.status in ("failed", "stopped")]
        if not failed:
            return None
        parts = [f"{outcome.job.title} ({outcome.reason or outcome.status})" for outcome in failed[:LISTED]]
        if len(failed) > LISTED:
            parts.append(f"and {len(failed) - LISTED} more")
        if skipped := sum(outcome.status == "not started" for outcome in self.outcomes):
            parts.append(f"{skipped} not started")
        return LauncherError(f"{len(failed)} of {len(self.outcomes)} jobs failed: {'; '.join(parts)}")

    def _handle_interrupts(self) -> None:
        if self._interrupts.count and not self._stopping:
            name = "Ctrl-C" if self._interrupts.first == "SIGINT" else self._interrupts.first
            self._stop(f"{name}: waiting for running jobs to save; a second Ctrl-C or signal kills them")
        if self._interrupts.count > 1:
            for attempt in self._running:
                attempt.kill()

    def _stop(self, reason: str) -> None:
        self._stopping = True
        if self._running:
            self._board.note(reason)
        for attempt in self._running:
            attempt.stop()

    def _fill_slots(self, folder: Path) -> None:
        free = list(self._slots)
        for attempt in self._running:
            free.remove(attempt.slot)
        for slot in free:
            outcome = None if self._stopping else self._next(slot)
            if outcome is None:
                continue
            outcome.attempts += 1
            returns = folder / f"{self.outcomes.index(outcome)}.json"
            try:
                attempt = Attempt(
                    outcome.job, slot, outcome.attempts, self._options.grace, returns, resumed=outcome.begun
                )
            except LauncherError as error:
                outcome.status, outcome.reason = "failed", str(error)
                self._after_attempt(outcome)
                continue
            outcome.status, outcome.device = "running", slot.device
            for other in self._running:
                if other.slot.visible == slot.visible:
                    other.shared = attempt.shared = True
            self._running[attempt] = outcome
            self._admission.started(attempt)
            self._board.started(outcome)

    def _refill(self) -> None:
        """Ask the source for a job for each slot that is free and that no job waits for."""
        while (
            self._source is not None
            and not self._stopping
            and not self._interrupts.count
            and len(self._queue) + len(self._running) < len(self._slots)
            and (job := self._source.next()) is not None
        ):
            outcome = Outcome(job)
            self.outcomes.append(outcome)
            self._by_folder[job.folder.absolute()] = outcome
            if self._check_finished(outcome, "done before"):
                self._board.ended(outcome)
                self._source.ended(outcome)
            else:
                self._queue.append(outcome)

    def _next(self, slot: Slot) -> Outcome | None:
        """Take the first job that can run now out of the queue, if it may start in this slot.

        No other may go before it: a job that needs a device for itself would wait for ever.
        """
        now = time.monotonic()
        for outcome in list(self._queue):
            if self._ask_at.get(id(outcome), now) > now or self._has_failed_on(outcome, slot):
                continue
            if not self._admission.admits(outcome, slot, self._running):
                return None
            user = outcome.job.holder()  # before the summary is read: a process writes it before it lets go
            if self._check_finished(outcome, "done elsewhere"):
                self._queue.remove(outcome)
                self._board.ended(outcome)
                if self._source is not None:
                    self._source.ended(outcome)
            elif user is not None:
                self._hold(outcome, user)
            else:
                self._queue.remove(outcome)
                return outcome
        return None

    def _has_failed_on(self, outcome: Outcome, slot: Slot) -> bool:
        """Return whether a retry should wait for another GPU: this one may be why the job has failed.

        It does not wait for a GPU that only others use, or that is gone.
        """
        if not slot.gpus or not outcome.attempts or outcome.device != slot.device:
            return False
        busy = {attempt.slot.device for attempt in self._running}
        return any(
            other.device in busy or self._admission.admits(outcome, other, self._running)
            for other in self._slots
            if other.device != slot.device
        )

    def _hold(self, outcome: Outcome, user: str) -> None:
        """Leave a job waiting while another process uses its folder."""
        self._ask_at[id(outcome)] = time.monotonic() + ASK_AGAIN
        if outcome.status != "held":
            outcome.status = "held"
            self._board.note(f"{outcome.job.name} is in use by {user}; it runs later")

    def _check_finished(self, outcome: Outcome, status: Status) -> bool:
        """Return whether the job is finished already; it has this status then."""
        summary = outcome.job.summary()
        if summary is not None:
            outcome.status, outcome.summary = status, summary
        return summary is not None

    def _collect(self) -> None:
        """Handle attempts that have ended, and stop those that exceed the timeout."""
        for attempt, outcome in list(self._running.items()):
            status = attempt.poll()
            if status is not None:
                del self._running[attempt]
                attempt.close()
                self._ended(attempt, outcome, status)
                self._admission.ended(attempt, outcome)
                attempt.remove_returns()
            elif self._options.timeout and attempt.seconds > self._options.timeout * 60 and not attempt.timed_out:
                attempt.timed_out = True
                attempt.stop()

    def _ended(self, attempt: Attempt, outcome: Outcome, status: int) -> None:
        outcome.seconds += attempt.seconds
        outcome.reason = ""
        outcome.begun = True
        own_status = attempt.own_status(status)
        if status == 0:
            outcome.status, outcome.returned = "done", attempt.returned()
            outcome.summary = outcome.job.new_summary()
            if outcome.job.was_pruned():
                outcome.status = "pruned"
        elif self._stopping:
            outcome.status = "stopped"
        elif attempt.timed_out:
            outcome.status, outcome.reason = "failed", f"timed out after {self._options.timeout:g} min"
        elif outcome.job.locks_folder and own_status == IN_USE and self._may_wait(outcome):
            outcome.attempts -= 1
            outcome.seconds -= attempt.seconds
            self._queue.append(outcome)
            return
        elif own_status == OUT_OF_MEMORY and attempt.shared and not outcome.alone:
            outcome.attempts -= 1
            outcome.alone, outcome.status = True, "waiting"
            self._admission.ran_out_of_memory(outcome)
            self._queue.append(outcome)
            self._board.note(f"{outcome.job.name} ran out of memory beside other jobs; it runs again alone")
            return
        elif own_status in self._options.requeue_statuses and outcome.requeued < MAX_REQUEUED:
            outcome.attempts -= 1
            outcome.requeued += 1
            outcome.status = "waiting"
            self._queue.append(outcome)
            self._board.note(f"{outcome.job.title} exited with status {own_status}; it runs again later")
            return
        elif own_status == STOPPED:
            outcome.status = "stopped"
            outcome.reason = "stopped by another program; run the same command again to resume"
        else:
            outcome.status, outcome.reason = "failed", attempt.reason(status)
        self._after_attempt(outcome)

    def _may_wait(self, outcome: Outcome) -> bool:
        """Return whether a job that found its folder in use may wait for it; it is held then."""
        user = outcome.job.holder()
        self._lost_races[id(outcome)] = 0 if user else self._lost_races.get(id(outcome), 0) + 1
        if self._lost_races[id(outcome)] > LOST_RACES:
            return False
        self._hold(outcome, user or "another process")
        return True

    def _after_attempt(self, outcome: Outcome) -> None:
        """Put a failed job back into the queue, or stop all jobs, as the options ask."""
        again = not outcome.finished and not self._stopping and outcome.attempts <= self._options.retries
        self._board.ended(outcome, again=again)
        if again:
            outcome.status = "waiting"
            self._queue.append(outcome)
        elif not outcome.finished and not self._stopping and self._options.fail_fast:
            self._stop("fail_fast: stopping the others")
        if self._source is not None and not again:
            self._source.ended(outcome)

    def _stop_leftovers(self) -> None:
        """Stop the jobs that still run, for example after an exception."""
        for attempt in self._running:
            attempt.close()
        for attempt, outcome in self._running.items():
            attempt.wait()
            outcome.status = "stopped"
        self._running.clear()
