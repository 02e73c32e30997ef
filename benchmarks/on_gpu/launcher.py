"""Many small runs by the launcher: how long a multirun takes from its command to its end, start-ups included."""

import shutil
import time
from collections.abc import Sequence
from typing import Any

from mcl.reports.markdown import table
from mcl.runs.layout import SUMMARY
from on_gpu.setup import NotAvailable, Setup

TITLE = "A multirun on one card"


def measure(setup: Setup, *, jobs: int, per_gpu: int, pair: str, seconds: float) -> dict[str, Any]:
    """Return the seconds of a multirun of short jobs, ``per_gpu`` of them at a time, and how many have finished."""
    from on_gpu.commands import run

    folder = setup.out / "multirun" / str(per_gpu)
    shutil.rmtree(folder, ignore_errors=True)
    options = [
        *("dataset=synthetic", f"dataset.image_size={setup.size(32, 8)}", "dataset.classes=100"),
        *(f"dataset.train_per_class={setup.size(100, 2)}", f"dataset.test_per_class={setup.size(20, 1)}"),
        *(f"pair={setup.size(pair, 'resnet8')}", f"trainer.batch_size={setup.size(128, 8)}", "tracking=none"),
        *(f"trainer.device={setup.device}", f"trainer.epochs={setup.size(5, 1)}", "resume=never"),
        *(f"seed={','.join(map(str, range(jobs)))}", f"runs={folder}", "hydra/launcher=gpus"),
        *(f"hydra.launcher.per_gpu={per_gpu}", f"trainer.max_steps={setup.size(1000, 2)}"),
        f"hydra.launcher.devices={'[0]' if setup.device == 'cuda' else 'cpu'}",
    ]
    start = time.monotonic()
    done = run(setup, ["train.py", "-m", *options], seconds)
    spent = time.monotonic() - start
    finished = len(list(folder.rglob(SUMMARY)))
    shutil.rmtree(folder, ignore_errors=True)
    if finished < jobs:
        raise NotAvailable(f"{finished} of {jobs} jobs finished, {per_gpu} at a time: {done.last_line}")
    return {"seconds": spent}


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    return f"{found['seconds']:.1f} s"


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    alone = {row["arguments"]["jobs"]: row["found"]["seconds"] for row in rows if row["arguments"]["per_gpu"] == 1}
    cells = []
    for row in rows:
        jobs, per_gpu = row["arguments"]["jobs"], row["arguments"]["per_gpu"]
        seconds = row["found"]["seconds"]
        times = f"{alone[jobs] / seconds:.2f}" if jobs in alone else "–"
        cells.append([f"{jobs} jobs of {row['arguments']['pair']}", str(per_gpu), f"{seconds:.1f}", times])
    return [
        "`train.py -m ... hydra/launcher=gpus hydra.launcher.per_gpu=N`, from the command to its end: start-ups,"
        " evaluations, checkpoints and meta rounds included.",
        "",
        *table(["", "at a time", "s", "×"], cells, 1),
    ]
