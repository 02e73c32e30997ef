"""What a person sees before and after training: what is about to run, and what came out."""

import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 120  # columns, where there is no terminal to ask


def make_console() -> Console:
    """Standard output, with nothing taken for markup. Colours follow ``NO_COLOR`` and ``FORCE_COLOR``.

    A character that its encoding lacks becomes ``?`` from then on, as does a byte of a path that is not text.
    """
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    return console


def print_plan(rows: Sequence[tuple[str, str]], notes: Sequence[str] = ()) -> None:
    """Print what is about to run.

    Args:
        rows: (what, value), such as ``("data", "digits, 1,437 images of 10 classes")``.
        notes: sentences that the reader should not miss.
    """
    console = make_console()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for what, value in rows:
        table.add_row(what, value)
    console.print(table)
    for note in notes:
        console.print(Text("note: ", style="yellow") + Text(note, style="default"))
    console.print()


def print_summary(summary: Mapping[str, Any], run_dir: str | os.PathLike[str]) -> None:
    """Print the results of a finished run, in the form of its ``summary.json``; accuracies in percent."""
    console = make_console()
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("test accuracy, %", no_wrap=True)
    for header in ("top-1 last", "top-5 last", "top-1 best", "at epoch", "best of any stage"):
        table.add_column(header, justify="right", no_wrap=True)
    for network in summary["networks"]:
        table.add_row(
            network["name"],
            Text(accuracy(network["top1_last"], 2), style="bold"),
            accuracy(network.get("top5_last"), 2),
            accuracy(network.get("top1_best"), 2),
            str(network.get("best_epoch") or "-"),
            accuracy(network.get("top1_max_over_heads"), 2),
        )
    ensemble = (summary.get("ensemble") or {}).get("top1_last")
    if ensemble is not None:
        table.add_row("ensemble", Text(accuracy(ensemble, 2), style="bold"))
    console.print()
    console.print(table)
    console.print()
    if (chooser := summary.get("best_epoch_chosen_on")) is not None:
        console.print(f"best epoch chosen on the {chooser} split; {_best_over_run(summary)}", style="dim")
    console.print(
        f"{counted(summary['epochs'], 'epoch')}, {counted(summary['steps'], 'step')} in {clock(summary['seconds'])}"
        f", {summary['images_per_second']:,.0f} images/s, seed {summary['seed']}",
        style="dim",
    )
    console.print(shown(run_dir), soft_wrap=True)


def _best_over_run(summary: Mapping[str, Any]) -> str:
    best = accuracy(summary.get("top1_max_over_run"), 2)
    return f"best of any stage of any network, over all epochs of the test split: {best}"


def accuracy(percent: float | None, digits: int = 1) -> str:
    """``"93.1"``; a dash for what was not measured."""
    return "-" if percent is None else f"{percent:.{digits}f}"


def counted(number: int, thing: str) -> str:
    """``"1 epoch"``, ``"2,000 epochs"``."""
    return f"{number:,} {thing}" + "s" * (number != 1)


def clock(seconds: float) -> str:
    """``"0:35"``, ``"12:04"``, ``"1:02:03"``, ``"2d 03:04:05"``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def shown(path: str | os.PathLike[str]) -> str:
    """``path`` as short as it can be typed from here."""
    path = Path(path).absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
