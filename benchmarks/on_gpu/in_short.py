"""The answer to the main question: a step and its share of a meta round, ours and the textbook."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from mcl.reports.markdown import NONE, table

TITLE = "In short"
TEXTBOOK, KEEP = "textbook", "keep"
GOALS = {("resnet32", "bfloat16"): 8.0, ("resnet32", "float32"): 4.0}  # times the textbook in float32, on one H100
Rows = Sequence[dict[str, Any]]


def report(steps: Rows, rounds: Rows) -> list[str]:
    """Return the section of the page; empty before steps and meta rounds of a pair are measured.

    Args:
        steps: measured rows of `on_gpu.steps`.
        rounds: measured rows of `on_gpu.meta_rounds`.
    """
    wholes = [whole for row in steps for whole in _wholes(row, rounds)]
    plain = {pair: seconds for pair, *kind, seconds, _ in wholes if kind == ["float32", TEXTBOOK]}
    cells = [
        [
            *(pair, precision, form, f"{1e3 * seconds:.4g}", f"{textbook / seconds:.2f}"),
            f"{plain[pair] / seconds:.2f}" if pair in plain else NONE,
            f"{GOALS[pair, precision]:g}" if (pair, precision) in GOALS else NONE,
        ]
        for pair, precision, form, seconds, textbook in wholes
        if form != TEXTBOOK
    ]
    if not cells:
        return []
    headers = ["pair", "precision", "form", "step and 1/50 round, ms", "× same precision", "× float32", "goal"]
    return [
        f"## {TITLE}",
        "",
        "A step with its data and its share of a meta round, ours with `loss.meta.memory=keep`, compared with the"
        " textbook in the same precision and in float32. The goals compare with float32, on one H100.",
        "",
        *table(headers, cells, 3),
    ]


def _wholes(row: dict[str, Any], rounds: Rows) -> list[tuple[str, str, str, float, float]]:
    """Return pair, precision, form, seconds, and seconds of the textbook, of each form in a row of steps."""
    pair, precision = row["arguments"]["problem"], row["arguments"]["precision"]
    in_float32 = precision == "float32"  # in all other precisions, meta rounds use TF32
    for other in rounds:
        if other["arguments"]["problem"] == pair and (other["arguments"]["precision"] == "float32") == in_float32:
            found = other["found"]
            if {TEXTBOOK, KEEP} <= set(found["seconds"]) and TEXTBOOK in row["found"]["seconds"]:
                share = {name: median(found["seconds"][name]) / found["interval"] for name in (TEXTBOOK, KEEP)}
                seconds = {
                    form: median(values) + share[TEXTBOOK if form == TEXTBOOK else KEEP]
                    for form, values in row["found"]["seconds"].items()
                }
                return [(pair, precision, form, value, seconds[TEXTBOOK]) for form, value in seconds.items()]
    return []
