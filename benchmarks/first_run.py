"""The first command of README.md: how long it takes, and its result."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import Options, medians

from mcl.reports.markdown import table
from mcl.runs.layout import SUMMARY

TITLE = "First run"
TRAIN = str(Path(__file__).parents[1] / "train.py")


def measure(options: Options) -> dict[str, Any]:
    """Train in an empty folder, then type the command again, and again."""
    typed = [TRAIN] if options.epochs == Options.epochs else [TRAIN, f"trainer.epochs={options.epochs}"]
    with tempfile.TemporaryDirectory() as folder:
        training = _seconds(typed, folder)
        again = [_seconds(typed, folder) for _ in range(options.repeats)]
        (file,) = Path(folder, "runs").rglob(SUMMARY)
        return {
            "folder": str(file.parent.relative_to(folder)),
            "training": training,
            "again": {name: [each[name] for each in again] for name in training},
            "summary": json.loads(file.read_text()),
        }


def _seconds(arguments: list[str], folder: str) -> dict[str, float]:
    """Return the seconds from start to end, and of processor time, which a busy machine changes less."""
    environment = {**os.environ, "WANDB_MODE": "offline"}
    start, before = time.perf_counter(), _processor_seconds()
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=True)
    return {"wall": time.perf_counter() - start, "processor": _processor_seconds() - before}


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(result: dict[str, Any], folder: Path) -> list[str]:
    found = result["found"]
    again = medians(found["again"])
    rows = [
        [what, f"{seconds['wall']:.1f}", f"{seconds['processor']:.1f}"]
        for what, seconds in ((f"trained in {found['folder']}", found["training"]), ("typed again", again))
    ]
    head = ["", "from start to end, s", "processor time, s"]
    return ["`python train.py` in an empty folder, with W&B offline.", "", *table(head, rows, 1)]
