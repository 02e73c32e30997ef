"""The contrast alone, forward and backward to the embeddings."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import contrast
from measuring import ratio

from mcl.reports.markdown import table
from on_gpu.setup import Setup

TITLE = "Contrast alone"
SIZES = (*contrast.SIZES, {"networks": 2, "stages": 4, "batch": 64})  # the last one as with ImageNet


def measure(setup: Setup, *, budget: float) -> list[dict[str, Any]]:
    """Return the seconds of both implementations at each size."""
    from on_gpu.blocks import time_blocks
    from on_gpu.forms import waiting

    results = []
    for size in setup.size(SIZES, ({"networks": 2, "stages": 2, "batch": 8},)):
        calls = contrast.implementations(**size, classes=size["batch"] // 2, device=setup.device)
        for call in calls.values():
            call()
        results.append({**size, **time_blocks(setup, calls, waiting(setup), budget=budget / len(SIZES))})
    return results


def line(found: list[dict[str, Any]], **arguments: Any) -> str:
    """Return the result in one line."""
    words = [f"{_size(each)}: {_ratio(each).value:.1f} times the textbook" for each in found]
    return ", ".join(words)


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    cells = []
    for each in (size for row in rows for size in row["found"]):
        times = [f"{1e3 * median(each['seconds'][name]):.3f}" for name in ("textbook", "ours")]
        cells.append([_size(each), *times, "{:.1f} ({:.1f} to {:.1f})".format(*_ratio(each))])
    return [
        "All four terms between N networks of S stages in a batch of B, embeddings of 128 dimensions, float32; forward"
        " and backward, in turns.",
        "",
        *table(["", "textbook, ms", "ours, ms", "× (middle half)"], cells, 1),
    ]


def _size(each: dict[str, Any]) -> str:
    return f"N = {each['networks']}, S = {each['stages']}, B = {each['batch']}"


def _ratio(each: dict[str, Any]) -> Any:
    return ratio(each["seconds"]["textbook"], each["seconds"]["ours"])
