"""Time that the loop, the meters and the data loading add to forward, backward and optimizer."""

from pathlib import Path
from statistics import median
from typing import Any

from measuring import Options, alternate

from mcl.reports.markdown import table

TITLE = "Loop, meters and data"
BLOCK = 4  # steps, after which the meters are read: more often than in training


def measure(options: Options) -> dict[str, Any]:
    from trainings import WAYS, Ours, as_on_cifar, assembled

    found, splits = {}, None
    for way, overrides in WAYS.items():
        parts = assembled([*as_on_cifar(options), *overrides])
        splits = splits or parts.dataset.load()
        ours = Ours(parts, splits)
        batch = next(ours.batches)

        def bare(ours: Ours = ours, batch: Any = batch) -> None:
            for _ in range(BLOCK):
                ours.bare_step(batch)

        def whole(ours: Ours = ours) -> None:
            for _ in range(BLOCK):
                ours.step(next(ours.batches))
            ours.trainer.meters.read()

        found[way] = {
            **alternate({"bare": bare, "whole": whole}, 2 * options.repeats),
            **alternate({"data": lambda ours=ours: next(ours.batches)}, 2 * options.repeats),
        }
    return found


def report(result: dict[str, Any], folder: Path) -> list[str]:
    rows = []
    for way, found in result["found"].items():
        shares = sorted(whole / bare - 1 for whole, bare in zip(found["whole"], found["bare"], strict=True))
        bare, whole = (median(found[name]) / BLOCK for name in ("bare", "whole"))
        low, high = shares[len(shares) // 4], shares[-1 - len(shares) // 4]
        rows.append(
            [
                way,
                f"{bare:.4f}",
                f"{whole:.4f}",
                f"{1e3 * median(found['data']):.1f}",
                f"{100 * median(shares):.1f} %",
                f"{100 * low:.1f} to {100 * high:.1f} %",
            ]
        )
    return [
        f"Steps of training without a meta round, with data, all metrics and a reading of the meters every {BLOCK}"
        " steps, beside bare steps: forward, backward and optimiser on one and the same batch. *More* is the median of"
        " pairs measured one after the other, with the middle half of them.",
        "",
        *table(["", "bare step, s", "step, s", "of it data, ms", "more", "middle half"], rows, 1),
    ]
