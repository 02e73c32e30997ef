"""The benchmark's results as tables on the terminal."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcl.benchmarking.numbers import speed
from mcl.benchmarking.settings import joined
from mcl.console import format_duration, make_console, plain_table
from mcl.tracking.summary_table import print_plan

PHASES = {  # as they are called in the file -> as they are called here
    "data": "data: the next batch",
    "forward": "networks, forward",
    "loss": "loss, forward: heads and terms",
    "contrast": "contrast, forward and backward",
    "backward": "backward",
    "optimizer": "optimizer",
    "meta_round": "meta round, one in {interval}",
    "other": "other: metrics, gradient norm",
    "whole": "whole step",
}


def print_found(found: Mapping[str, Any]) -> None:
    """Print what `mcl.benchmarking.numbers.summary` gives."""
    console = make_console()
    print_plan(_numbers(found), notes=[found["generated_images"]] if found["generated_images"] else [])
    console.print(_phases(found["phases"], found["interval"]))
    if len(found["settings"]) > 1:
        console.print()
        console.print(_settings(found["settings"]))
        console.print(found["rule"], style="dim")
        console.print()
        _print_best(console, found)


def _numbers(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    seconds, share, peak = found["seconds"], found["share_of_peak"], found["convolution_peak"]
    steps = found["steps"]
    networks = ", ".join(found["networks"])
    layout = "channels last" if found["channels_last"] else "contiguous"
    rows = [
        ("training", f"{found['what']}: {networks}; batches of {found['batch_size']}"),
        ("data", found["data"]),
        ("on", f"{found['device']}, {found['precision']}, {layout}, torch {found['libraries']['torch']}"),
        ("speed", speed(found["images_per_second"])),
        ("a step", f"{_time(seconds['step'])}: median of {len(steps)}, {_time(min(steps))} to {_time(max(steps))}"),
    ]
    if seconds["meta_round"] is not None:
        rows.append(("a meta round", _time(seconds["meta_round"])))
    rows += [
        ("an epoch", f"{format_duration(seconds['epoch'])}, {found['steps_per_epoch']:,} steps"),
        (
            "the recipe",
            f"{format_duration(seconds['recipe'])}, {found['total_steps']:,} steps;"
            " evaluations and checkpoints not counted",
        ),
        ("memory", "unknown" if found["memory"] is None else f"{_bytes(found['memory'])}, {found['memory_kind']}"),
        ("of the peak", _share(found, "step", found["precision"], peak)),
    ]
    if "meta_round" in share:
        rows.append(("  meta round", _share(found, "meta_round", "float32", peak)))
    return rows


def _share(found: Mapping[str, Any], what: str, precision: str, peak: Mapping[str, float]) -> str:
    rate = found["multiply_adds_per_second"][what]
    return (
        f"{found['share_of_peak'][what]:.0%}: {rate / 1e9:,.1f} of {peak[precision] / 1e9:,.1f} G multiply-adds/s,"
        f" the best convolution here in {precision}"
    )


def _phases(phases: Mapping[str, float], interval: int | None) -> Table:
    table = _columns("a step", "time", "share")
    for name, label in PHASES.items():
        if name in phases:
            style = "bold" if name == "whole" else ""
            share = f"{phases[name] / phases['whole']:.1%}"
            table.add_row(label.format(interval=interval), _time(phases[name]), share, style=style)
    return table


def _settings(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _columns("setting", "images/s", "faster", "memory", "loss off by", "first step after")
    table.add_column("")
    for row in rows:
        ran = row["step"] is not None
        table.add_row(
            "\n".join(row["overrides"]) or "as given",
            speed(row["images_per_second"], "") if ran else "-",
            f"{row['faster']:.2f}x" if ran else "-",
            _bytes(row["memory"]) if row["memory"] else "-",
            f"{row['deviation']:.2%}" if row["deviation"] is not None else "-",
            f"{row['start']:.0f} s" if ran else "-",
            Text(row["outcome"], style="green" if row["outcome"] == "safe" else "red")
            + Text(f": {row['reason']}" if row["reason"] else "", style="default"),
        )
    return table


def _print_best(console: Console, found: Mapping[str, Any]) -> None:
    best = found["best"]
    if not best["overrides"]:
        console.print("Nothing safe was faster than the settings given.", style="bold")
        return
    console.print(f"Fastest safe setting found, {best['faster']:.2f}x:", style="bold")
    console.print(f"python train.py {shlex.join(joined(found['overrides'], best['overrides']))}", soft_wrap=True)


def _columns(first: str, *others: str) -> Table:
    table = plain_table()
    table.add_column(first)
    for header in others:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _time(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{1000 * seconds:,.{2 if seconds < 0.1 else 0}f} ms"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
