"""Progress on the terminal: a live display, or plain lines when standard output is a file."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mcl.console import accuracy, format_duration, make_console, plain_table
from mcl.runs.layout import CHECKPOINTS
from mcl.tracking.summary_table import print_summary
from mcl.tracking.tracker import RunInfo, Status, Tracker

REFRESH_SECONDS = 0.5  # between two refreshes, which take some milliseconds each
NARROW = 60  # columns, below which the display has no bar and no table
SILENCE_SECONDS = 60.0  # at most, between two plain lines
# Names train/<name> that are not losses.
NOT_LOSSES = ("total", "lr", "images_per_second", "grad_norm", "loss_scale", "skipped")


class Terminal(Tracker):
    """Show steps, speed, time left, losses and the latest accuracies.

    The display is drawn in `log`, never from a thread, so it costs training at most two refreshes per second.

    Args:
        console: where to print plain lines; None for standard output.
    """

    name = "terminal"

    def __init__(self, console: Console | None = None) -> None:
        self._given_console = console

    def start(self, run: RunInfo) -> None:
        self._run = run
        self._step, self._epoch = run.resumed_step, 0
        self._values: dict[str, float] = {}  # live: the latest values; plain: those not printed yet
        self._first: tuple[float, int] | None = None  # time and step of the first metrics
        self._drawn = monotonic()
        self._console = self._given_console or make_console()
        if run.resumed_step:
            self._console.print(f"resuming from step {run.resumed_step:,} of {run.total_steps:,}")
        self._live: Live | None = None
        if self._given_console is None and sys.stdout.isatty() and self._console.is_interactive:
            handlers = [handler for handler in logging.root.handlers if isinstance(handler, logging.StreamHandler)]
            streams = (sys.stdout, sys.stderr)
            self._handlers = [(handler, handler.stream) for handler in handlers if handler.stream in streams]
            self._live = Live(self._display(), console=self._console, auto_refresh=False, transient=True)
            self._live.start(refresh=True)
            for handler, _ in self._handlers:
                handler.setStream(sys.stdout)  # replaced by the live display: log lines go above it

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        now = monotonic()
        self._first = self._first or (now, step)
        if self._live is None and self._values and epoch > self._epoch:
            self._print_line()  # the previous epoch ended without an evaluation
        self._step, self._epoch = step, epoch
        self._values.update(metrics)
        if self._live is None:
            if any(_split(name) for name in metrics) or now - self._drawn >= SILENCE_SECONDS:
                self._print_line()
        elif now - self._drawn >= REFRESH_SECONDS:
            self._live.update(self._display(), refresh=True)
            self._drawn = now

    def reached(self, step: int) -> None:
        self._step = step

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._live is not None:
            for handler, stream in self._handlers:
                handler.setStream(stream)
            self._live.stop()
        if status == "finished" and summary is not None:
            print_summary(summary, self._run.run_dir, self._console)
            return
        if self._values:
            self._print_line()
        saved = any(Path(self._run.run_dir, CHECKPOINTS).glob("*.pt"))
        again = "again to resume from the last checkpoint"
        if not saved:
            again = "again to start anew, as there is no checkpoint yet"
        if saved and "resume=never" in self._run.overrides:  # it would start over, and delete the checkpoint
            again = "without resume=never to resume from the last checkpoint"
        self._console.print(
            f"{status} at step {self._step:,} of {self._run.total_steps:,}; run the same command {again}",
            style="yellow",
        )

    def _seconds_left(self) -> float | None:
        """Return the time left at the speed since the first metrics: before them is start-up. Evaluations count."""
        if self._first is None or self._step <= self._first[1]:
            return None
        seconds, steps = monotonic() - self._first[0], self._step - self._first[1]
        return seconds / steps * (self._run.total_steps - self._step)

    def _heads(self, key: str) -> dict[str, float]:
        """Return the top-1 of each head of a network."""
        prefix = f"{self._shown_split()}/{key}/"
        names = [name for name in self._values if name.startswith(prefix) and name.endswith("/top1")]
        return {name.split("/")[2]: self._values[name] for name in names}

    def _ensemble(self) -> float | None:
        return self._values.get(f"{self._shown_split()}/ensemble/top1")

    def _shown_split(self) -> str:
        """Return the split to show: test if it has been evaluated, else validation; empty before any evaluation."""
        return max((_split(name) for name in self._values), key=("", "validation", "test").index, default="")

    def _terms(self) -> dict[str, float]:
        """Return the raw loss terms."""
        train = {name.removeprefix("train/"): value for name, value in self._values.items() if _is_train(name)}
        return {name: value for name, value in train.items() if name not in NOT_LOSSES}

    def _print_line(self) -> None:
        """Print the new values; several loss terms get a line of their own."""
        run, values = self._run, self._values
        parts = [
            f"epoch {self._epoch:{len(str(run.total_epochs))}}/{run.total_epochs}",
            f"step {self._step:{len(str(run.total_steps))}}/{run.total_steps}",
        ]
        terms = self._terms()
        loss = [f"loss {_number(values['train/total'])}"] if "train/total" in values else []
        if len(terms) < 2:  # the total is the only term
            parts += loss
        for key, _ in run.networks:
            if "backbone" in (heads := self._heads(key)):
                parts.append(f"{key} {accuracy(heads['backbone'])}")
        if (ensemble := self._ensemble()) is not None:
            parts.append(f"ensemble {accuracy(ensemble)}")
        if "train/images_per_second" in values:
            parts.append(f"{values['train/images_per_second']:,.0f} images/s")
        if (left := self._seconds_left()) is not None:
            parts.append(f"left {format_duration(left)}")
        self._console.print("  ".join(parts), soft_wrap=True)
        if len(terms) > 1:
            named = [f"{name} {_number(value)}" for name, value in terms.items()]
            self._console.print("  ".join(["", *loss, *named]), soft_wrap=True)
        self._console.file.flush()
        self._values.clear()
        self._drawn = monotonic()

    def _display(self) -> Group:
        parts: list[RenderableType] = [self._bar(), self._facts()]
        if self._shown_split():
            parts += [Text(), self._accuracies()]
        return Group(*parts)

    def _bar(self) -> RenderableType:
        total = max(self._run.total_steps, 1)
        if self._console.width < NARROW:
            return Text(f"{self._step:,}/{total:,} steps ({self._step / total:.0%})")
        left, speed = self._seconds_left(), self._values.get("train/images_per_second")
        row = Table.grid(padding=(0, 3, 0, 0), expand=True)
        row.add_column(ratio=1)
        for _ in range(4):
            row.add_column(justify="right", no_wrap=True)
        row.add_row(
            ProgressBar(total=total, completed=self._step),
            Text(f"{self._step / total:.0%}", style="bold"),
            f"{self._step:,}/{total:,} steps",
            "" if speed is None else f"{speed:,.0f} images/s",
            "" if left is None else f"{format_duration(left)} left",
        )
        return row

    def _facts(self) -> Columns:
        facts = {"epoch": f"{self._epoch}/{self._run.total_epochs}"}
        for label, name in (("lr", "train/lr"), ("loss", "train/total")):
            if name in self._values:
                facts[label] = _number(self._values[name])
        facts |= {name: _number(value) for name, value in self._terms().items()}
        return Columns([Text.assemble((f"{label} ", "dim"), value) for label, value in facts.items()], padding=(0, 3))

    def _accuracies(self) -> RenderableType:
        if self._console.width < NARROW:
            lines = [f"{key} {accuracy(self._heads(key).get('backbone'))}" for key, _ in self._run.networks]
            return Text("\n".join([*lines, f"ensemble {accuracy(self._ensemble())}"]))
        table = plain_table(f"{self._shown_split()} accuracy, %", numbers=("backbone", "best head"))
        for key, name in self._run.networks:
            heads = self._heads(key)
            best = max(heads, key=lambda head: heads[head], default="")
            table.add_row(
                Text.assemble(f"{key} ", (name, "dim")),
                Text(accuracy(heads.get("backbone")), style="bold"),
                Text.assemble((f"{best} ", "dim"), accuracy(heads[best])) if len(heads) > 1 else "",
            )
        if (ensemble := self._ensemble()) is not None:
            table.add_row("ensemble", Text(accuracy(ensemble), style="bold"))
        return table


def _split(name: str) -> str:
    """Return ``"test"`` or ``"validation"`` for the metric of an evaluation, else an empty text."""
    first = name.split("/", 1)[0]
    return first if first in ("test", "validation") else ""


def _is_train(name: str) -> bool:
    return name.startswith("train/") and name.count("/") == 1


def _number(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.3g}"
