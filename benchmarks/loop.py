"""The overhead of the loop, the meters and the data loading over forward, backward and optimizer."""

from pathlib import Path
from statistics import median
from typing import Any

from measuring import Options

from mcl.reports.markdown import table

TITLE = "Loop, meters and data"
BLOCK = 4  # steps between two readings of the meters, fewer than in training


def measure(options: Options) -> dict[str, Any]:
    from trainings import WAYS, build_parts, cifar_like, ours

    from mcl.benchmarking import time_in_turns

    results, splits = {}, None
    for way, overrides in WAYS.items():
        parts = build_parts([*cifar_like(options), *overrides])
        splits = splits or parts.dataset.load()
        training = ours(parts, splits)
        batch = next(training.batches)

        def bare(training: Any = training, batch: Any = batch) -> None:
            for _ in range(BLOCK):
                training.bare_step(batch)

        def whole(training: Any = training) -> None:
            for _ in range(BLOCK):
                training.step(next(training.batches))
            training.read_meters()

        steps = time_in_turns({"bare": bare, "whole": whole}, 2 * options.repeats)
        data = time_in_turns({"data": lambda training=training: next(training.batches)}, 2 * options.repeats)
        results[way] = {**steps, **data}
    return results


def report(result: dict[str, Any], folder: Path) -> list[str]:
    rows = []
    for way, seconds in result["found"].items():
        overheads = sorted(whole / bare - 1 for whole, bare in zip(seconds["whole"], seconds["bare"], strict=True))
        bare, whole = (median(seconds[name]) / BLOCK for name in ("bare", "whole"))
        low, high = overheads[len(overheads) // 4], overheads[-1 - len(overheads) // 4]
        rows.append(
            [
                way,
                f"{bare:.4f}",
                f"{whole:.4f}",
                f"{1e3 * median(seconds['data']):.1f}",
                f"{100 * median(overheads):.1f} %",
                f"{100 * low:.1f} to {100 * high:.1f} %",
            ]
        )
    return [
        f"Training steps without a meta round, with data, all metrics and a reading of the meters every {BLOCK} steps,"
        " compared with bare steps: forward, backward and optimizer on one fixed batch. *Overhead* is the median over"
        " pairs measured one after the other, with their middle half.",
        "",
        *table(["", "bare step, s", "step, s", "data in it, ms", "overhead", "middle half"], rows, 1),
    ]
