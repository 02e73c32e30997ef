"""The queue: which job runs when and where, what follows when one ends, and how everything is stopped."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mcl.errors import UserError
from mcl.launching.attempt import Attempt
from mcl.launching.board import Board
from mcl.launching.interrupts import Interrupts
from mcl.launching.job import Job, Outcome, Status
from mcl.launching.launch_options import Options
from mcl.launching.slots import Slot
from mcl.runs.lock import holder
from mcl.runs.summary import intact_summary
from mcl.training.signals import EXIT_STATUS, Stopped

TICK = 0.1  # seconds between two looks at what runs
ASK_AGAIN = 3.0  # seconds between two looks at a folder that is in use elsewhere
LOST_RACES = 5  # in a row, to a process that is gone when it is looked for; then the job has failed
NAMED = 8  # failed jobs that the last line names


class Sweep:
    """Runs jobs over slots, one at a time in each, until every one has ended.

    Whatever ends this process, its jobs are asked to save and leave, and none stays behind.

    Args:
        jobs: in the order in which they are to start. Those with the same folder run once.
        slots: one at least.
        options: of the launcher.
        board: shows what happens.
    """

    def __init__(self, jobs: Sequence[Job], slots: Sequence[Slot], options: Options, board: Board):
        unique = {job.folder.absolute(): job for job in reversed(jobs)}
        self.outcomes = [Outcome(job) for job in reversed(unique.values())]
        self._of = {outcome.job.folder.absolute(): outcome for outcome in self.outcomes}
        self._slots = list(slots)
        self._options = options
        self._board = board
        self._queue: list[Outcome] = []
        self._running: dict[Attempt, Outcome] = {}
        self._ask_at: dict[int, float] = {}  # id of an outcome whose folder is in use -> when to look again
        self._lost_races: dict[int, int] = {}  # id of an outcome -> times that nobody held a folder found in use
        self._stopping = False
        self._interrupts = Interrupts()

    def run(self) -> None:
        """Run every job that is not finished; `outcomes` and `outcome` tell how it went.

        Raises:
            KeyboardInterrupt: Ctrl-C; every job has saved and left.
            Stopped: the same after SIGTERM or SIGHUP.
        """
        for outcome in self.outcomes:
            self._settle(outcome, "done before")
        self._queue = [outcome for outcome in self.outcomes if not outcome.finished]
        self._board.begin(self.outcomes, [slot.device for slot in self._slots])
        try:
            with self._interrupts, tempfile.TemporaryDirectory(prefix="mcl-sweep-") as folder:
                try:
                    while self._running or (self._queue and not self._stopping):
                        self._heed()
                        self._start(Path(folder))
                        self._board.update(self._running)
                        time.sleep(TICK)
                        self._collect()
                finally:
                    self._abandon()
        finally:
            for outcome in self.outcomes:
                if outcome.status in ("waiting", "held", "running"):
                    outcome.status, outcome.reason = "not started" if not outcome.attempts else "stopped", ""
            self._board.end(self.outcomes)
        if all(outcome.finished for outcome in self.outcomes):
            return  # whatever came, it came too late
        if self._interrupts.first == "SIGINT":
            raise KeyboardInterrupt
        if self._interrupts.first is not None:
            raise Stopped("SIGTERM")

    def outcome(self, job: Job) -> Outcome:
        """Where a job stands."""
        return self._of[job.folder.absolute()]

    def failure(self) -> UserError | None:
        """What to say if a job has not finished."""
        lost = [outcome for outcome in self.outcomes if outcome.status in ("failed", "stopped")]
        if not lost:
            return None
        named = [f"{outcome.job.title} ({outcome.reason or outcome.status})" for outcome in lost[:NAMED]]
        if len(lost) > NAMED:
            named.append(f"and {len(lost) - NAMED} more")
        if skipped := sum(outcome.status == "not started" for outcome in self.outcomes):
            named.append(f"{skipped} not started")
        return UserError(f"{len(lost)} of {len(self.outcomes)} jobs failed: {'; '.join(named)}")

    def _heed(self) -> None:
        """Do what signals ask for."""
        if self._interrupts.count and not self._stopping:
            name = "Ctrl-C" if self._interrupts.first == "SIGINT" else self._interrupts.first
            self._stop(f"{name}: waiting for running jobs to save; once more kills them")
        if self._interrupts.count > 1:
            for attempt in self._running:
                attempt.kill()

    def _stop(self, why: str) -> None:
        self._stopping = True
        if self._running:
            self._board.note(why)
        for attempt in self._running:
            attempt.stop()

    def _start(self, folder: Path) -> None:
        """Fill the free slots."""
        taken = [attempt.slot for attempt in self._running]
        free = list(self._slots)
        for slot in taken:
            free.remove(slot)
        for slot in free:
            outcome = None if self._stopping else self._next()
            if outcome is None:
                return
            outcome.attempts += 1
            returns = folder / f"{self.outcomes.index(outcome)}.json"
            try:
                attempt = Attempt(outcome.job, slot, outcome.attempts, self._options.grace, returns)
            except UserError as error:
                outcome.status, outcome.reason = "failed", str(error)
                self._after(outcome)
                continue
            outcome.status, outcome.device = "running", slot.device
            self._running[attempt] = outcome
            self._board.started(outcome)

    def _next(self) -> Outcome | None:
        """Take the first job out of the queue that can run now."""
        now = time.monotonic()
        for outcome in list(self._queue):
            if self._ask_at.get(id(outcome), now) > now:
                continue
            who = holder(outcome.job.folder)  # before the summary is looked for: whoever lets go has written it
            if self._settle(outcome, "done elsewhere"):
                self._queue.remove(outcome)
                self._board.ended(outcome)
            elif who is not None:
                self._hold(outcome, who)
            else:
                self._queue.remove(outcome)
                return outcome
        return None

    def _hold(self, outcome: Outcome, who: str) -> None:
        """Somebody else runs it: look again later."""
        self._ask_at[id(outcome)] = time.monotonic() + ASK_AGAIN
        if outcome.status != "held":
            outcome.status = "held"
            self._board.note(f"{outcome.job.name} is in use by {who}; it has its turn later")

    def _settle(self, outcome: Outcome, status: Status) -> bool:
        """Whether it is finished already, by whomever."""
        summary = outcome.job.summary()
        if summary is not None:
            outcome.status, outcome.summary = status, summary
        return summary is not None

    def _collect(self) -> None:
        """See which attempts have ended, or have run for too long."""
        for attempt, outcome in list(self._running.items()):
            status = attempt.poll()
            if status is not None:
                del self._running[attempt]
                attempt.close()
                self._ended(attempt, outcome, status)
            elif self._options.timeout and attempt.seconds > self._options.timeout * 60 and not attempt.timed_out:
                attempt.timed_out = True
                attempt.stop()

    def _ended(self, attempt: Attempt, outcome: Outcome, status: int) -> None:
        outcome.seconds += attempt.seconds
        outcome.reason = ""
        if status == 0:
            outcome.status, outcome.returned = "done", attempt.returned()
            outcome.summary = intact_summary(outcome.job.folder)
        elif self._stopping:
            outcome.status = "stopped"
        elif attempt.timed_out:
            outcome.status, outcome.reason = "failed", f"timed out after {self._options.timeout:g} min"
        elif attempt.found_in_use(status) and self._may_wait(outcome):
            outcome.attempts -= 1
            outcome.seconds -= attempt.seconds
            self._queue.append(outcome)
            return
        elif status == EXIT_STATUS["SIGTERM"]:
            outcome.status, outcome.reason = "stopped", "stopped from outside"
        else:
            outcome.status, outcome.reason = "failed", attempt.reason(status)
        self._after(outcome)

    def _may_wait(self, outcome: Outcome) -> bool:
        """Return whether a job whose folder was in use may wait for it; it is held then."""
        who = holder(outcome.job.folder)
        self._lost_races[id(outcome)] = 0 if who else self._lost_races.get(id(outcome), 0) + 1
        if self._lost_races[id(outcome)] > LOST_RACES:
            return False
        self._hold(outcome, who or "another process")
        return True

    def _after(self, outcome: Outcome) -> None:
        """What follows from how an attempt ended."""
        again = not outcome.finished and not self._stopping and outcome.attempts <= self._options.retries
        self._board.ended(outcome, again=again)
        if again:
            outcome.status = "waiting"
            self._queue.append(outcome)
        elif not outcome.finished and not self._stopping and self._options.fail_fast:
            self._stop("fail_fast: stopping the others")

    def _abandon(self) -> None:
        """Stop what still runs, on whatever way out."""
        for attempt in self._running:
            attempt.close()
        for attempt, outcome in self._running.items():
            attempt.wait()
            outcome.status = "stopped"
        self._running.clear()
