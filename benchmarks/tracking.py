"""Cost of tracking as a share of the cost of training, measured in the same run.

    python benchmarks/tracking.py [OVERRIDE ...]

trains as ``python train.py OVERRIDE ...`` in a temporary folder, with a clock at every call of the trackers. Lines of
`wall` are what the thread that trains waits for; lines of `cpu` are processor time, on whatever core is free.
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
spent: dict[str, float] = {}


def clocked(owner: Any, name: str, what: str, clock: Callable[[], float]) -> None:
    """Have every call of ``owner.name`` add its time to ``spent[what]``."""
    call = getattr(owner, name)
    spent[what] = 0.0

    def timed(*arguments: Any, **options: Any) -> Any:
        begun = clock()
        try:
            return call(*arguments, **options)
        finally:
            spent[what] += clock() - begun

    setattr(owner, name, timed)


def main() -> None:
    """Train once and print a table."""
    whole = {"wall": "wall: training with evaluations", "cpu": "cpu: training with evaluations"}
    clocked(Trainer, "fit", whole["wall"], WALL)
    clocked(Trainer, "fit", whole["cpu"], CPU)
    clocked(Trackers, "log", "wall: all trackers, numbers", WALL)
    clocked(Trackers, "look", "wall: all trackers, pictures", WALL)
    clocked(Background, "finish", "wall: W&B, at the end", WALL)
    clocked(torch.nn.utils, "get_total_norm", "cpu: gradient norm", CPU)
    clocked(WandbTracker, "start", "cpu: W&B, import and start", CPU)
    clocked(WandbTracker, "log", "cpu: W&B, numbers", CPU)
    clocked(WandbTracker, "look", "cpu: W&B, pictures", CPU)
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = [sys.argv[0], *sys.argv[1:], f"hydra.run.dir={folder}/run"]
        train()
        import wandb

        wandb.teardown()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent["cpu: W&B's own process"] = used.ru_utime + used.ru_stime
    print()
    for what, seconds in spent.items():
        share = 100 * seconds / spent[whole[what.partition(":")[0]]]
        print(f"{what:34} {seconds:9.3f} s {share:7.2f} %")


if __name__ == "__main__":
    main()
