"""The display of a multirun: one table on a terminal, plain lines elsewhere, and every job at the end."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hydra_gpu_launcher.attempt import Attempt
from hydra_gpu_launcher.console import display_path, format_duration, make_console, plain_table, pluralize
from hydra_gpu_launcher.job import FINISHED, Outcome

REFRESH_SECONDS = 1.0
STYLES = {"failed": "red", "stopped": "yellow", "not started": "yellow", "held": "yellow"}
PLAIN_WIDTH = 200  # columns without a terminal: paths are not wrapped
BAR, OTHERS = 20, 65  # width of the progress bar, and of all columns but the name


@dataclass(frozen=True)
class Score:
    """The result of a finished job, as the table shows it.

    Args:
        name: in a sentence.
        header: of the column in the last table.
        text: returns it for a job; empty if there is none.
    """

    name: str
    header: str
    text: Callable[[Outcome], str]


def _returned(outcome: Outcome) -> str:
    number = isinstance(outcome.returned, int | float) and not isinstance(outcome.returned, bool)
    return f"{outcome.returned:.5g}" if number else ""


VALUE = Score("value", "value", _returned)


class Board:
    """Displays the events of a queue. Jobs continue if the terminal disappears.

    Args:
        console: console to print to; None for standard output.
        score: what is displayed of a finished job.
    """

    def __init__(self, console: Console | None = None, score: Score = VALUE) -> None:
        self._console = console or make_console()
        self._score = score
        if not self._console.is_terminal and "COLUMNS" not in os.environ:
            self._console.width = PLAIN_WIDTH
        self._live: Live | None = None
        self._outcomes: Sequence[Outcome] = []
        self._slots = 1
        self._more = False
        self._progress: dict[Attempt, tuple[float, float | None] | None] = {}
        self._began = self._drawn = time.monotonic()

    def begin(self, outcomes: Sequence[Outcome], slots: Sequence[str], *, more: bool = False) -> None:
        """Print what is about to run.

        Args:
            outcomes: the jobs so far.
            slots: the device of each slot.
            more: whether further jobs follow.
        """
        self._outcomes, self._slots, self._more = outcomes, len(slots), more
        done = sum(outcome.finished for outcome in outcomes)
        already = f", {done} of them done before" if done else ""
        devices = ", ".join(
            f"{name} (at most {count} at a time)" if count > 1 else name for name, count in Counter(slots).items()
        )
        with self._ignore_lost_terminal():
            jobs = "one job after another" if more else f"{pluralize(len(outcomes), 'job')}{already}"
            self._console.print(f"{jobs}; on {devices}", soft_wrap=True)
            if (more or done < len(outcomes)) and self._console.is_terminal and self._console.is_interactive:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()

    def started(self, outcome: Outcome) -> None:
        """Report that a job runs."""
        if self._live is None:
            attempt = f" (attempt {outcome.attempts})" if outcome.attempts > 1 else ""
            self._line("started", outcome, f"on {outcome.device}{attempt}")

    def ended(self, outcome: Outcome, again: bool = False) -> None:
        """Report that a job has ended, and whether it will run again."""
        if outcome.status == "pruned":
            details = f"after {format_duration(outcome.seconds)}"
        elif outcome.finished:
            score = self._score.text(outcome)
            parts = [f"in {format_duration(outcome.seconds)}"] if outcome.attempts else []
            details = ", ".join([*parts, f"{self._score.name} {score}"] if score else parts)
        else:
            details = outcome.reason + ("; again later" if again else f"; see {display_path(outcome.job.log)}")
        if self._live is None or not outcome.finished:
            self._line(outcome.status, outcome, details.removeprefix("; "))

    def note(self, text: str) -> None:
        """Print a note."""
        with self._ignore_lost_terminal():
            self._console.print(f"{time.strftime('%H:%M:%S')}  {text}", style="yellow", soft_wrap=True)

    def update(self, running: Mapping[Attempt, Outcome]) -> None:
        """Redraw the table, at most every `REFRESH_SECONDS`."""
        if self._live is None or time.monotonic() - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = time.monotonic()
        self._progress = {attempt: attempt.job.progress(attempt.began_at) for attempt in running}
        with self._ignore_lost_terminal():
            self._live.update(Group(*self._display(running)), refresh=True)

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """Replace the live table by a table of all jobs."""
        with self._ignore_lost_terminal():
            if self._live is not None:
                self._live.stop()
                self._live = None
            self._console.print()
            self._console.print(final_table(outcomes, self._score))
            self._console.print()
            self._console.print(f"{_counts(outcomes)} in {format_duration(time.monotonic() - self._began)}")
            self._console.file.flush()

    def _line(self, event: str, outcome: Outcome, details: str) -> None:
        text = Text(f"{time.strftime('%H:%M:%S')}  ", style="dim")
        text.append(f"{event:8} ", style=STYLES.get(event, "default"))
        text.append(outcome.job.name, style="default")
        if outcome.job.varied:
            text.append(f"  {outcome.job.varied}")
        text.append(f"  {details}", style="default")
        with self._ignore_lost_terminal():
            self._console.print(text, soft_wrap=True)
            self._console.file.flush()

    def _display(self, running: Mapping[Attempt, Outcome]) -> Iterator[Table | Text]:
        table = plain_table()
        table.add_column("running", overflow="ellipsis", no_wrap=True, max_width=max(20, self._console.width - OTHERS))
        table.add_column("on", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("", width=BAR)
        table.add_column("", justify="right", no_wrap=True)
        table.add_column("left", justify="right", no_wrap=True)
        for attempt, outcome in running.items():
            progress = self._progress[attempt]
            done, left = progress or (None, None)
            varied = f"{outcome.job.varied}  " if outcome.job.varied else ""
            table.add_row(
                Text.assemble(varied, (outcome.job.name, "dim")),
                outcome.device,
                format_duration(attempt.seconds),
                ProgressBar(total=1.0, completed=done or 0.0, width=BAR),
                "" if done is None else f"{done:.0%}",
                "" if left is None else format_duration(left),
            )
        yield table
        times = f"   {format_duration(time.monotonic() - self._began)} elapsed"
        if left := self._seconds_left(running):
            times += f", about {format_duration(left)} left"
        yield Text.assemble("\n", _counts(self._outcomes), (times, "dim"))

    def _seconds_left(self, running: Mapping[Attempt, Outcome]) -> float | None:
        """Estimate the time left, as if each waiting job took the mean time of the others; None if more may follow."""
        if self._more:
            return None
        left = {
            attempt: progress[1]
            for attempt, progress in self._progress.items()
            if progress is not None and progress[1] is not None
        }
        durations = [attempt.seconds + seconds for attempt, seconds in left.items()]
        durations += [outcome.seconds for outcome in self._outcomes if outcome.status == "done"]
        if not durations:
            return None
        mean = fmean(durations)
        waiting = sum(outcome.status in ("waiting", "held") for outcome in self._outcomes)
        running_left = [left.get(attempt, max(0.0, mean - attempt.seconds)) for attempt in running]
        return max([(sum(running_left) + waiting * mean) / self._slots, *running_left])

    @contextmanager
    def _ignore_lost_terminal(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SystemExit):  # the terminal or the reader of a pipe is gone: rich raises SystemExit
            self._live = None


def final_table(outcomes: Sequence[Outcome], score: Score = VALUE) -> Table:
    """Return a table of all jobs with status, time, device, score, log and the reason of failures."""
    table = plain_table()
    table.add_column("job", overflow="fold")
    table.add_column("status", no_wrap=True)
    for header in ("time", "on", score.header):
        table.add_column(header, justify="left" if header == "on" else "right", no_wrap=True)
    table.add_column("log", overflow="fold")
    for outcome in outcomes:
        place = outcome.job.log if outcome.job.log.exists() else outcome.job.folder
        lines = [Text(display_path(place))]
        attempts = f" ({outcome.attempts} attempts)" if outcome.attempts > 1 else ""
        style = STYLES.get(outcome.status, "default")
        if outcome.reason and not outcome.finished:
            lines.append(Text(outcome.reason, style=style))
        table.add_row(
            outcome.job.title,
            Text(outcome.status + attempts, style=style),
            format_duration(outcome.seconds) if outcome.attempts else "",
            outcome.device,
            score.text(outcome) if outcome.finished else "",
            Text("\n").join(lines),
        )
    return table


def _counts(outcomes: Sequence[Outcome]) -> str:
    """Return the summary ``12 jobs: 2 running, 5 waiting, 4 done, 1 failed``."""
    counts = Counter(str(outcome.status) for outcome in outcomes)
    counts["done"] = sum(counts[status] for status in FINISHED if status != "pruned")
    order = ("running", "waiting", "held", "done", "pruned", "failed", "stopped", "not started")
    parts = ", ".join(f"{counts[status]} {status}" for status in order if counts[status])
    return f"{pluralize(len(outcomes), 'job')}: {parts}"
