"""Cost of tracking as a share of the cost of training, measured in the same run.

    python benchmarks/tracking.py [OVERRIDE ...]

Trains as ``python train.py OVERRIDE ...`` does, in a temporary folder, and times every call of the trackers. `wall` is
the time that the training thread waits; `cpu` is processor time, on any core.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from mcl.tracking import Background, Trackers, WandbTracker
from mcl.training.trainer import Trainer
from train import train

WALL, CPU = time.perf_counter, time.thread_time
WHOLE = {"wall": "wall: training with evaluations", "cpu": "cpu: training with evaluations"}
TIMED = (
    (Trainer, "fit", WHOLE["wall"], WALL),
    (Trainer, "fit", WHOLE["cpu"], CPU),
    (Trackers, "log", "wall: all trackers, numbers", WALL),
    (Trackers, "snapshot", "wall: all trackers, pictures", WALL),
    (Background, "finish", "wall: W&B, at the end", WALL),
    (torch.nn.utils, "get_total_norm", "cpu: gradient norm", CPU),
    (WandbTracker, "start", "cpu: W&B, import and start", CPU),
    (WandbTracker, "log", "cpu: W&B, numbers", CPU),
    (WandbTracker, "snapshot", "cpu: W&B, pictures", CPU),
)
spent: dict[str, float] = {}


def time_calls(owner: Any, name: str, label: str, clock: Callable[[], float]) -> None:
    """Add the time of every call of ``owner.name`` to ``spent[label]``."""
    call = getattr(owner, name)
    spent[label] = 0.0

    def timed(*arguments: Any, **options: Any) -> Any:
        start = clock()
        try:
            return call(*arguments, **options)
        finally:
            spent[label] += clock() - start

    setattr(owner, name, timed)


def main() -> None:
    """Train once and print a table."""
    for timed in TIMED:
        time_calls(*timed)
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = [sys.argv[0], *sys.argv[1:], f"hydra.run.dir={folder}/run"]
        train()
        import wandb

        wandb.teardown()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent["cpu: W&B's own process"] = used.ru_utime + used.ru_stime
    print()
    for label, seconds in spent.items():
        share = 100 * seconds / spent[WHOLE[label.partition(":")[0]]]
        print(f"{label:34} {seconds:9.3f} s {share:7.2f} %")


if __name__ == "__main__":
    main()
