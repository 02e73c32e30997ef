"""Print the benchmark's results as tables."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcl.benchmarking.derived import format_rate
from mcl.benchmarking.settings import joined
from mcl.console import format_duration, make_console, plain_table
from mcl.program import program
from mcl.tracking.summary_table import print_plan

PHASES = {  # name in the file -> name in the table
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


def print_results(results: Mapping[str, Any]) -> None:
    """Print a summary of `mcl.benchmarking.derived`."""
    console = make_console()
    print_plan(_rows(results), notes=[results["generated_images"]] if results["generated_images"] else [])
    console.print(_phases(results["phases"], results["interval"]))
    if len(results["settings"]) > 1:
        console.print()
        console.print(_settings(results["settings"]))
        console.print(results["rule"], style="dim")
        console.print()
        _print_best(console, results)


def _rows(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    seconds, share, peak = results["seconds"], results["share_of_peak"], results["convolution_peak"]
    steps = results["steps"]
    networks = ", ".join(results["networks"])
    layout = "channels last" if results["channels_last"] else "contiguous"
    rows = [
        ("training", f"{results['what']}: {networks}; batches of {results['batch_size']}"),
        ("data", results["data"]),
        ("on", f"{results['device']}, {results['precision']}, {layout}, torch {results['libraries']['torch']}"),
        ("speed", format_rate(results["images_per_second"])),
        ("a step", f"{_time(seconds['step'])}: median of {len(steps)}, {_time(min(steps))} to {_time(max(steps))}"),
    ]
    if seconds["meta_round"] is not None:
        rows.append(("a meta round", _time(seconds["meta_round"])))
    rows += [
        ("an epoch", f"{format_duration(seconds['epoch'])}, {results['steps_per_epoch']:,} steps"),
        (
            "the recipe",
            f"{format_duration(seconds['recipe'])}, {results['total_steps']:,} steps;"
            " evaluations and checkpoints not counted",
        ),
        (
            "memory",
            "unknown" if results["memory"] is None else f"{_bytes(results['memory'])}, {results['memory_kind']}",
        ),
        ("share of peak", _share(results, "step", results["precision"], peak)),
    ]
    if "meta_round" in share:
        rows.append(("  meta round", _share(results, "meta_round", "float32", peak)))
    return rows


def _share(results: Mapping[str, Any], part: str, precision: str, peak: Mapping[str, float]) -> str:
    rate = results["multiply_adds_per_second"][part]
    return (
        f"{results['share_of_peak'][part]:.0%}: {rate / 1e9:,.1f} of {peak[precision] / 1e9:,.1f} G multiply-adds/s,"
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
            format_rate(row["images_per_second"], "") if ran else "-",
            f"{row['faster']:.2f}x" if ran else "-",
            _bytes(row["memory"]) if row["memory"] else "-",
            f"{row['deviation']:.2%}" if row["deviation"] is not None else "-",
            f"{row['start']:.0f} s" if ran else "-",
            Text(row["outcome"], style="green" if row["outcome"] == "safe" else "red")
            + Text(f": {row['reason']}" if row["reason"] else "", style="default")
            + Text(_pixels(row["pixel_difference"]), style="default"),
        )
    return table


def _pixels(difference: Mapping[str, Any] | None) -> str:
    """Return how images that the GPU decodes differ from those that workers decode."""
    if difference is None:
        return ""
    return f"; pixels differ by {difference['mean']:.2f} of 255 on average, {difference['largest']} at most"


def _print_best(console: Console, results: Mapping[str, Any]) -> None:
    best = results["best"]
    if not best["overrides"]:
        console.print("No safe setting was faster than the given ones.", style="bold")
        return
    console.print(f"Fastest safe setting, {best['faster']:.2f}x:", style="bold")
    console.print(f"{program('train')} {shlex.join(joined(results['overrides'], best['overrides']))}", soft_wrap=True)


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
