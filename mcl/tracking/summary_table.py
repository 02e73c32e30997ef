"""Print the plan before training and the results after it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcl.console import accuracy, display_path, format_duration, make_console, plain_table, pluralize, print_table

COLUMNS = ("top-1 last", "top-5 last", "top-1 best", "at epoch", "best of any stage")


def print_plan(rows: Sequence[tuple[str, str]], notes: Sequence[str] = (), console: Console | None = None) -> None:
    """Print what is about to run.

    Args:
        rows: (what, value), such as ``("data", "digits, 1,437 images of 10 classes")``.
        notes: sentences that the reader should not miss.
        console: where; None for standard output.
    """
    console = console or make_console()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for what, value in rows:
        table.add_row(what, value)
    console.print(table)
    print_notes(notes, console)
    console.print()


def print_notes(notes: Sequence[str], console: Console | None = None) -> None:
    """Print sentences that the reader should not miss; arguments as for `print_plan`."""
    console = console or make_console()
    for note in notes:
        console.print(Text("note: ", style="yellow") + Text(note, style="default"))


def print_summary(summary: Mapping[str, Any], run_dir: str | os.PathLike[str], console: Console | None = None) -> None:
    """Print the results of a finished run, in the form of its ``summary.json``; accuracies in percent.

    They are of the validation split if the run left the test split alone.
    """
    console = console or make_console()
    tested = any(network["top1_last"] is not None for network in summary["networks"])
    split = "" if tested else "validation_"
    table = plain_table("test accuracy, %" if tested else "validation accuracy, %", numbers=COLUMNS)
    deployed = summary.get("deployed") or [network.get("key") for network in summary["networks"]]
    for network in sorted(summary["networks"], key=lambda network: network.get("key") not in deployed):
        name = f"{network['key']} {network['name']}" if network.get("key") else network["name"]
        table.add_row(
            name if network.get("key") in deployed else f"{name} (not deployed)",
            Text(accuracy(network.get(f"{split}top1_last"), 2), style="bold"),
            accuracy(network.get("top5_last"), 2),
            accuracy(network.get(f"{split}top1_best"), 2),
            str(network.get("best_epoch") or "-"),
            accuracy(network.get("top1_max_over_heads"), 2),
        )
    ensemble = (summary.get("ensemble") or {}).get("top1_last")
    if ensemble is not None:
        table.add_row("ensemble", Text(accuracy(ensemble, 2), style="bold"), *[""] * (len(COLUMNS) - 1))
    console.print()
    print_table(console, table)
    console.print()
    if (chooser := summary.get("best_epoch_chosen_on")) is not None:
        best = f"best epoch chosen on the {chooser} split"
        text = f"{best}; {_best_over_run(summary)}" if tested else f"{best}; the test split was left alone"
        console.print(text, style="dim", soft_wrap=True)
        console.print(
            "a stage is a part of a network that has a classifier while training", style="dim", soft_wrap=True
        )
    memory = (summary.get("peak_memory") or {}).get("gpu")
    console.print(
        f"{pluralize(summary['epochs'], 'epoch')}, {pluralize(summary['steps'], 'step')} in"
        f" {format_duration(summary['seconds'])}, {summary['images_per_second']:,.0f} images/s, seed {summary['seed']}"
        + (f", {memory / 1e9:.2f} GB of the GPU's memory at most" if memory else ""),
        style="dim",
        soft_wrap=True,
    )
    console.print(display_path(run_dir), soft_wrap=True)


def _best_over_run(summary: Mapping[str, Any]) -> str:
    best = accuracy(summary.get("top1_max_over_run"), 2)
    return f"best of any stage of any network, over all epochs of the test split: {best}"
